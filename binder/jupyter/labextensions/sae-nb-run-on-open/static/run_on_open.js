/* Runs a notebook when it is opened, if the *server's* settings name it (`saeNbRunOnOpen` in
   labconfig/page_config.json). A notebook cannot ask for it: whoever sends a file may not run code.

   Written by hand in the form JupyterLab loads extensions in (a module-federation container), so
   that nothing has to be built: `init` gets the shared modules (none are needed), `get` a module. */
(() => {
  const PLUGIN = "sae-nb-run-on-open:plugin";

  const namedByServer = () => {
    const element = document.getElementById("jupyter-config-data");
    const options = element ? JSON.parse(element.textContent) : {};
    const named = options.saeNbRunOnOpen;
    return new Set(Array.isArray(named) ? named : []);
  };

  // Where cells have been run before (a reloaded page), panels come back from the kernel by themselves.
  const untouched = (notebook) =>
    [...notebook.content.model.cells].every(
      (cell) => cell.type !== "code" || cell.executionCount === null,
    );

  const isNotebook = (widget) => Boolean(widget && widget.context && widget.sessionContext && widget.content);

  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  // "Run all" goes to the last cell, and a visitor would watch the end of the notebook stay empty.
  const toTheTop = (content) => {
    content.activeCellIndex = 0;
    return content.scrollToItem(0);
  };

  // The list of files would take a quarter of a window, and of a phone's two thirds; there the bars go, too.
  const giveWidth = async ({ commands, shell }) => {
    if (shell.collapseLeft) shell.collapseLeft();
    const bars = "application:toggle-side-tabbar";
    for (const side of window.innerWidth < 600 ? ["left", "right"] : []) {
      if (commands.isToggled(bars, { side })) await commands.execute(bars, { side });
    }
  };

  // The command acts on the notebook in front, and while a page is restored others pass in front of it.
  const run = async (app, widget) => {
    await Promise.all([widget.context.ready, widget.sessionContext.ready, widget.revealed]);
    if (untouched(widget)) await giveWidth(app);
    for (let attempt = 0; attempt < 100 && !widget.isDisposed && untouched(widget); attempt += 1) {
      if (app.shell.currentWidget === widget) {
        const ran = app.commands.execute("notebook:run-all-cells");
        await toTheTop(widget.content);
        await ran;
      } else {
        app.shell.activateById(widget.id);
      }
      await pause(100);
    }
  };

  const activate = (app) => {
    const named = namedByServer();
    const seen = new WeakSet();
    const look = () => {
      const widget = app.shell.currentWidget;
      if (!isNotebook(widget) || seen.has(widget) || !named.has(widget.context.path)) return;
      seen.add(widget);
      run(app, widget).catch((error) =>
        console.warn(`${PLUGIN}: ${widget.context.path} was not run`, error),
      );
    };
    if (named.size === 0) return;
    if (app.shell.currentChanged) app.shell.currentChanged.connect(look);
    app.restored.then(look);
  };

  const plugin = { id: PLUGIN, autoStart: true, activate };
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["sae-nb-run-on-open"] = {
    init: () => undefined,
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
