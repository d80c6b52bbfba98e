// JSON as a tree that opens on demand. Every value becomes a text node.
const SHOWN = 200, NUMBER = "\u0000number";
const isNumber = (value) => value !== null && typeof value === "object" && typeof value[NUMBER] === "string";
function render({ model, el }) {
  const box = make("div", "walle-tree"), note = make("p", "walle-empty");
  box.setAttribute("role", "tree");
  el.append(box, note);
  const kind = (value) => (value === null ? "null" : isNumber(value) ? "number" : Array.isArray(value) ? "list" : typeof value);
  const leaf = (value) => make("bdi", `walle-${kind(value)}`, typeof value === "string" ? `"${value}"` : String(isNumber(value) ? value[NUMBER] : value));
  const count = (value) => {
    const size = Array.isArray(value) ? value.length : Object.keys(value).length;
    return Array.isArray(value) ? `[${size}]` : `{${size}}`;
  };
  const branch = (name, value, open) => {
    const line = make("div", "walle-leaf");
    const label = make("bdi", "walle-member", name);
    if (value === null || typeof value !== "object" || isNumber(value)) {
      line.setAttribute("role", "treeitem");
      line.append(label, ": ", leaf(value));
      return line;
    }
    const node = make("details", "walle-branch"), head = make("summary");
    head.append(label, ": ", make("span", "walle-count", count(value)));
    node.append(head);
    node.setAttribute("role", "treeitem");
    let filled = false;
    const fill = () => {
      if (filled || !node.open) return;
      filled = true;
      const members = Array.isArray(value) ? value.map((one, at) => [String(at), one]) : Object.entries(value);
      const more = (from) => {
        for (const [key, one] of members.slice(from, from + SHOWN)) node.append(branch(key, one, false));
        if (members.length > from + SHOWN) {
          const button = make("button", "walle-turn", `${members.length - from - SHOWN} more`);
          button.type = "button";
          button.addEventListener("click", () => { button.remove(); more(from + SHOWN); });
          node.append(button);
        }
      };
      more(0);
    };
    node.addEventListener("toggle", fill);
    node.open = open;
    fill();
    return node;
  };
  const draw = () => {
    const text = model.get("text");
    note.textContent = model.get("note");
    note.hidden = note.textContent === "";
    box.setAttribute("aria-label", model.get("label"));
    if (text === "") { box.replaceChildren(); return; }
    let value;
    try { value = JSON.parse(text); } catch { box.replaceChildren(make("pre", "walle-raw", text)); return; }
    const members = value !== null && typeof value === "object" && !isNumber(value) ? Object.entries(value) : [["", value]];
    box.replaceChildren(...members.map(([name, one]) => branch(name, one, true)));
  };
  // the notebook has its own meaning for the keys that open a branch
  box.addEventListener("keydown", (event) => event.stopPropagation());
  const stop = listen(model, { "change:text": draw, "change:note": draw, "change:label": draw });
  draw();
  return stop;
}
export default { render };
