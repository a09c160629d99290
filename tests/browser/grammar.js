// What is wrong with a panel as it stands on the page, as a list of sentences; one pass over its nodes.
// Contrast is WCAG 2's, of the colours as rendered: every layer below with its opacity, down to the page.
(panel, { least }) => {
  const found = [];
  const say = (what, node) => found.push(`${what}: ${name(node)}`);
  const name = (node) => {
    const text = (node.textContent || node.placeholder || node.value || "").trim().slice(0, 50);
    return `${node.tagName}.${node.getAttribute("class") || ""} “${text}”`;
  };
  const styles = new Map();
  const style = (e) => {
    if (!styles.has(e)) styles.set(e, getComputedStyle(e));
    return styles.get(e);
  };
  const box = (e) => e.getBoundingClientRect();
  // What is folded away keeps its box.
  const shown = (e) => style(e).visibility !== "hidden" && box(e).width > 0 && box(e).height > 0
    && e.checkVisibility();

  // --- colours ------------------------------------------------------------------------------------
  // What CSS has mixed comes as color(srgb 0.7 0.3 0), in shares of one.
  const parse = (text) => {
    const whole = text.startsWith("color(srgb") ? 255 : 1;
    const m = (text.match(/[\d.]+(?:e-?\d+)?/g) || []).map((v, i) => Number(v) * (i < 3 ? whole : 1));
    return m.length >= 3 ? [m[0], m[1], m[2], m.length > 3 ? m[3] : 1] : [0, 0, 0, 0];
  };
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => {
    const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const opacity = (e) => {
    let product = 1;
    for (let at = e; at && at !== panel.parentElement; at = at.parentElement)
      product *= Number(style(at).opacity);
    return product;
  };
  // The colour below an element; null over a picture, of which nothing general can be said.
  const grounds = new Map();
  const ground = (e) => {
    if (!e) return [255, 255, 255, 1];
    if (!grounds.has(e)) {
      const below = ground(e.parentElement);
      const mine = parse(style(e).backgroundColor);
      const picture = e instanceof HTMLElement && style(e).backgroundImage !== "none";
      grounds.set(e, picture || !below ? null : mine[3] ? over(mine, below) : below);
    }
    return grounds.get(e);
  };
  const seen = (colour, e, below, share = 1) =>
    over([...colour.slice(0, 3), colour[3] * share * opacity(e)], below);

  // --- texts: large enough, dark enough, none over another, none cut ----------------------------------
  // What is visible of a box: the part inside every box around it that cuts or scrolls.
  const windows = new Map();
  const visible = (e) => {
    if (e === panel || !e.parentElement) return box(panel);
    if (!windows.has(e)) {
      const outer = visible(e.parentElement);
      const cuts = e instanceof HTMLElement && style(e).overflow !== "visible";
      windows.set(e, cuts ? common(outer, box(e)) : outer);
    }
    return windows.get(e);
  };
  const common = (a, b) => ({
    left: Math.max(a.left, b.left), right: Math.min(a.right, b.right),
    top: Math.max(a.top, b.top), bottom: Math.min(a.bottom, b.bottom),
  });
  // A line that leans has a box far larger than itself.
  const leans = (e) => {
    const m = e instanceof SVGElement && e.getScreenCTM ? e.getScreenCTM() : null;
    return m !== null && Math.abs(m.a) > 0.1 && Math.abs(m.b) > 0.1;
  };
  const texts = [];
  const walker = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const e = node.parentElement;
    if (!node.textContent.trim() || e.closest("style, script, option, title, i.fa, .sae-nb-said, .sae-nb-unlabelled > label")) continue;
    if (!shown(e)) continue;
    const size = parseFloat(style(e).fontSize);
    if (size < least - 0.05) say(`${size} px`, e);
    const off = e.closest("[disabled], :disabled, .mod-disabled, .widget-disabled");
    const below = ground(e);
    if (below && !off && opacity(e) > 0) {
      const ink = parse(e instanceof SVGElement ? style(e).fill : style(e).color);
      const ratio = contrast(seen(ink, e, below), below);
      if (ratio < 4.45) say(`faint text, ${ratio.toFixed(2)}`, e);
    }
    // Names of points lie where the data puts them, and part when one zooms.
    if (opacity(e) === 0 || e.closest(".textpoint")) continue;
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) {
      const part = common(rect, visible(e));
      if (part.right - part.left > 2 && part.bottom - part.top > 4 && !leans(e)) texts.push({ part, e, node });
    }
  }
  texts.sort((a, b) => a.part.left - b.part.left);
  texts.forEach((one, i) => {
    for (let j = i + 1; j < texts.length && texts[j].part.left < one.part.right - 2; j += 1) {
      const two = texts[j];
      if (one.node === two.node) continue;
      // Lines of letters reach a little into each other; half a line is an overprint.
      const both = common(one.part, two.part);
      const low = Math.min(one.part.bottom - one.part.top, two.part.bottom - two.part.top);
      if (both.right - both.left > 2 && both.bottom - both.top > 0.45 * low)
        found.push(`overprinted: ${name(one.e)} and ${name(two.e)}`);
    }
  });

  // --- boxes: inside the panel, nothing cut, sliders that can be aimed at ------------------------------
  const edge = box(panel).right + 1;
  const scrolls = (e) => {
    for (let at = e.parentElement; at && at !== panel; at = at.parentElement)
      if (["auto", "scroll"].includes(style(at).overflowX)) return true;
    return false;
  };
  const measure = document.createElement("canvas").getContext("2d");
  const widthOf = (text, e) => {
    measure.font = `${style(e).fontWeight} ${style(e).fontSize} ${style(e).fontFamily}`;
    return measure.measureText(text).width;
  };
  // Words of the data may be of any length: they end in "…" where the whole is in the title.
  const ofData = (e) => e.closest(".sae-nb-caption, .sae-nb-label, td, .sae-nb-chip, .sae-nb-keyentry, .sae-nb-focusword, .sae-nb-word") && e.closest("[title]");
  for (const e of panel.querySelectorAll("*")) {
    if (!(e instanceof HTMLElement) || !shown(e)) continue;
    if (e.closest(".sae-nb-said, .sae-nb-unlabelled > label, .js-plotly-plot")) continue;
    if (box(e).right > edge && !scrolls(e) && !ofData(e)) say("sticks out", e);
    const s = style(e);
    const fits = e.scrollWidth <= e.clientWidth + 1;
    if (s.textOverflow === "ellipsis" && s.overflowX !== "visible" && !fits && !ofData(e)) say("cut", e);
    if (s.overflowY === "hidden" && e.scrollHeight > e.clientHeight + 3 && s.overflowX === "hidden"
      && e.matches(".widget-html-content, button, label")) say("cut below", e);
    const words = e.tagName === "SELECT" ? (e.selectedOptions[0] || {}).text
      : e.tagName === "INPUT" && !e.value ? e.placeholder : "";
    if (words) {
      const room = e.clientWidth - parseFloat(s.paddingLeft) - parseFloat(s.paddingRight);
      if (widthOf(words, e) > room + 1) say(`cut, ${Math.round(widthOf(words, e) - room)} px short`, e);
    }
    if (e.matches(".noUi-horizontal, .ui-slider-horizontal") && box(e).width < 119.5)
      say(`a slider of ${Math.round(box(e).width)} px`, e.closest(".jupyter-widgets") || e);
  }

  // --- plots: they fit, their labels are whole, their marks are seen -----------------------------------
  const plots = [...panel.querySelectorAll(".js-plotly-plot")].filter(shown);
  for (const plot of plots) {
    const frame = box(plot.querySelector(".main-svg"));
    const column = plot.closest(".sae-nb-main, .sae-nb-detail") || plot.parentElement;
    const room = column.clientWidth - parseFloat(style(column).paddingLeft) - parseFloat(style(column).paddingRight);
    // In a grid the column is one of its tracks.
    const tracks = style(column).display === "grid" ? style(column).gridTemplateColumns.split(" ").map(parseFloat) : [room];
    const misses = Math.min(...tracks.map((track) => Math.abs(frame.width - track)));
    if (misses > 4) found.push(`a figure misses its column by ${misses} px`);
    for (const label of plot.querySelectorAll(".main-svg text")) {
      const r = box(label);
      if (!label.textContent.trim() || !r.width || opacity(label) === 0) continue;
      if (r.left < frame.left - 2 || r.right > frame.right + 2 || r.top < frame.top - 2
        || r.bottom > frame.bottom + 2) say("cut off", label);
    }
  }
  // Light bands lie behind data, grid lines behind marks, matrices are read by their colour bars.
  const BAND = 0.3;
  const marks = [
    ...plots.flatMap((plot) => [...plot.querySelectorAll(
      ".plot :is(.point path, path.point, .js-line, .js-fill), .shapelayer path, .xtick line, path.xtick, "
      + "path.ytick, .legendpoints path, .legendlines path")]),
    ...panel.querySelectorAll(":is(.sae-nb-component, .widget-html-content) svg "
      + ":is(path, line, polyline, circle, rect)"),
  ];
  const counted = new Map();
  for (const mark of marks) {
    const r = box(mark);
    const s = style(mark);
    if ((!r.width && !r.height) || s.visibility === "hidden" || mark.closest(".sae-nb-picture, .clips, defs"))
      continue;
    const below = ground(mark);
    if (!below) continue;
    const share = (given) => (given === "" ? 1 : Number(given));
    const fill = parse(s.fill.startsWith("url") ? "" : s.fill);
    const line = s.stroke === "none" || parseFloat(s.strokeWidth) === 0 ? [0, 0, 0, 0] : parse(s.stroke);
    const [f, l] = [fill[3] * share(s.fillOpacity), line[3] * share(s.strokeOpacity)];
    if ((f * opacity(mark) <= BAND && l * opacity(mark) === 0) || s.fill.startsWith("url")) continue;
    const ratio = Math.max(contrast(seen(fill, mark, below, share(s.fillOpacity)), below),
      contrast(seen(line, mark, below, share(s.strokeOpacity)), below));
    const key = `faint mark, ${ratio.toFixed(2)}: ${mark.getAttribute("class") || mark.tagName} fill ${s.fill} `
      + `stroke ${s.stroke} opacity ${opacity(mark).toFixed(2)} on ${below.slice(0, 3).map(Math.round)}`;
    if (ratio < 2.95) counted.set(key, (counted.get(key) || 0) + 1);
  }
  for (const bar of panel.querySelectorAll(
    ".sae-nb-bar > .sae-nb-fill, .sae-nb-track > *, .sae-nb-progress > div")) {
    const s = style(bar);
    const below = ground(bar.parentElement);
    if (!shown(bar) && parseFloat(s.borderLeftWidth) === 0) continue;
    if (!below || !box(bar).height) continue;
    const colour = parseFloat(s.borderLeftWidth) ? s.borderLeftColor : s.backgroundColor;
    const ratio = contrast(seen(parse(colour), bar, below), below);
    const key = `faint mark, ${ratio.toFixed(2)}: ${bar.className} ${colour} on ${below.slice(0, 3).map(Math.round)}`;
    if (ratio < 2.95) counted.set(key, (counted.get(key) || 0) + 1);
  }
  for (const [key, times] of counted) found.push(`${key} (${times} times)`);
  return [...new Set(found)];
}
