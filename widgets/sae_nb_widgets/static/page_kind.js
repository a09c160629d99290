// PageKind: invisible; says whether the page is a JupyterLab, and whether that has the side panel's extension.
function render({ model, el }) {
  el.style.display = "none";
  const lab = document.querySelector(".jp-LabShell") !== null;
  model.send({ kind: "page", lab, side: lab && extensions().includes("@jupyter-widgets/jupyterlab-sidecar") });
}

// JupyterLab writes what it was started with into its page.
function extensions() {
  const element = document.getElementById("jupyter-config-data");
  try {
    return JSON.parse(element.textContent).federated_extensions.map((one) => one.name);
  } catch {
    return [];
  }
}

export default { initialize, render };
