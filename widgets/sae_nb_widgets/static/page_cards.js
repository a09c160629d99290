// The cards of a page without a kernel, which has written them into CARDS.
for (const root of document.querySelectorAll(".sae-nb-panel"))
  atomCards(root, { ask: (atom) => CARDS[atom] });
