// The three texts of the home page: a word that is clicked shows the atoms that fire at it.
for (const panel of document.querySelectorAll(".three-texts")) {
  const atoms = JSON.parse(panel.querySelector("script").textContent);
  const title = panel.querySelector(".fires h3"), list = panel.querySelector(".fires ol");
  const make = (tag, text, name) => {
    const node = document.createElement(tag);
    node.textContent = text;
    if (name) node.className = name;
    return node;
  };
  const row = ([words, dots, share]) => {
    const item = make("li", ""), bar = make("i", "", "bar");
    bar.style.setProperty("--share", Math.min(share, 1));
    item.append(make("b", words), make("span", "●".repeat(dots) + "○".repeat(4 - dots), "dots"), bar);
    return item;
  };
  panel.addEventListener("click", (event) => {
    const word = event.target.closest("button");
    if (!word) return;
    for (const other of panel.querySelectorAll("button[aria-pressed=true]")) other.setAttribute("aria-pressed", false);
    word.setAttribute("aria-pressed", true);
    title.textContent = `Firing at “${word.textContent.trim()}”`;
    list.replaceChildren(...atoms[word.dataset.at].map(row));
  });
}
