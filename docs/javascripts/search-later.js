// The index of the search holds the text of every page, 3.6 MB. It is fetched when somebody turns to the search,
// so that a page that is only read stays small. From disk the theme itself waits that long.
if (location.protocol !== "file:") {
  const { open, send } = XMLHttpRequest.prototype;
  const wanted = new Promise((done) => {
    if (new URLSearchParams(location.search).has("q")) done(); // a link to an answer of the search
    document.addEventListener("focusin", (event) => {
      if (event.target.matches(".md-search__input")) done();
    });
  });

  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    this.waits = String(url).endsWith("search/search_index.json");
    open.call(this, method, url, ...rest);
  };

  XMLHttpRequest.prototype.send = function (...body) {
    if (this.waits) wanted.then(() => send.apply(this, body));
    else send.apply(this, body);
  };
}
