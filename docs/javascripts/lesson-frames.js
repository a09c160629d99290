// Panels and figures of executed lessons are pages in frames: each tells how tall it is, and gets that height.
addEventListener("message", ({ data, source }) => {
  if (typeof data?.saeNbHeight !== "number") return;
  for (const frame of document.querySelectorAll(".lesson-output iframe"))
    if (frame.contentWindow === source) frame.style.height = `${data.saeNbHeight}px`;
});
