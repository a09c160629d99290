// A page opened from disk may not start a worker, so that search would be silent there: a hidden
// frame does the worker's work then. With a server the browser's own worker is used.
if (location.protocol === "file:") {
  const later = (frame, data) => frame.dispatchEvent(new MessageEvent("message", { data }));

  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      const element = document.createElement("iframe");
      element.hidden = true;
      document.body.appendChild(element);
      const frame = element.contentWindow;
      frame.document.open();
      frame.document.close();
      frame.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      frame.importScripts = async (...urls) => {
        for (const one of urls) await load(frame, one);
      };
      this.ready = load(frame, url);
      this.postMessage = (data) => this.ready.then(() => later(frame, data));
      this.terminate = () => element.remove();
    }
  };

  const load = (frame, url) =>
    new Promise((done, failed) => {
      const script = frame.document.createElement("script");
      script.onload = done;
      script.onerror = () => failed(new Error(`${url} could not be loaded`));
      script.src = url;
      frame.document.body.appendChild(script);
    });

  window.Worker = window.IFrameWorker;
}
