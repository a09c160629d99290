// White space that would otherwise be invisible, as signs; `visible_token` in `_tokens.py`.
function visibleToken(token, bare = false) {
  const word = (bare && token.trim()) || token;
  const shown = word.trim() ? word : word.replace(/ /g, "\u2423");
  return shown.replace(/\r\n|\n|\r/g, "\u21b5").replace(/\t/g, "\u21e5") || "\u2205";
}
