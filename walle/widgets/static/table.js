function render({ model, el }) {
  const box = make("div", "walle-table"), scroll = make("div", "walle-scroll"), table = make("table");
  const head = make("thead"), body = make("tbody"), none = make("p", "walle-empty");
  const foot = make("div", "walle-pages"), note = make("span", "walle-note");
  table.setAttribute("role", "grid");
  table.append(head, body);
  scroll.append(table, none);
  note.setAttribute("role", "status");
  const turn = (to, sign, title) => {
    const button = make("button", "walle-turn", sign);
    button.type = "button";
    button.title = title;
    button.setAttribute("aria-label", title);
    button.addEventListener("click", () => model.send({ kind: "page", to }));
    return button;
  };
  const back = [turn("first", "\u00ab", "first page"), turn("previous", "\u2039", "previous page")];
  const on = [turn("next", "\u203a", "next page"), turn("last", "\u00bb", "last page")];
  foot.append(...back, note, ...on);
  box.append(scroll, foot);
  el.append(box);
  let active = 0;
  const lines = () => [...body.children];
  const focus = (place) => {
    const all = lines();
    if (!all.length) return;
    active = Math.min(Math.max(0, place), all.length - 1);
    all.forEach((line, number) => { line.tabIndex = number === active ? 0 : -1; });
    all[active].focus();
  };
  const select = (row) => {
    // its first text as well: the kernel may have put other rows there meanwhile
    const said = (model.get("rows")[row] || [""])[0];
    model.send({ kind: "select", row, said });
  };
  const key = (event) => {
    const [before, after] = model.get("turns");
    const moves = {
      ArrowDown: () => focus(active + 1), ArrowUp: () => focus(active - 1),
      Home: () => focus(0), End: () => focus(Infinity),
      PageDown: () => after && model.send({ kind: "page", to: "next" }),
      PageUp: () => before && model.send({ kind: "page", to: "previous" }),
      Enter: () => select(active), " ": () => select(active),
    };
    if (!moves[event.key] || event.target.tagName === "BUTTON") return;
    event.preventDefault();
    event.stopPropagation();  // the notebook has its own meaning for these keys
    moves[event.key]();
  };
  box.addEventListener("keydown", key);
  body.addEventListener("focusin", (event) => { active = Math.max(0, lines().indexOf(event.target.closest("tr"))); });
  const mark = () => {
    const selected = model.get("selected");
    lines().forEach((line, number) => line.setAttribute("aria-selected", String(number === selected)));
  };
  const draw = () => {
    const held = body.contains(document.activeElement);
    const columns = model.get("columns"), rows = model.get("rows");
    table.setAttribute("aria-label", model.get("label"));
    const titles = make("tr");
    for (const { title, right } of columns) {
      const cell = make("th", right ? "walle-right" : "", title);
      cell.scope = "col";
      titles.append(cell);
    }
    head.replaceChildren(titles);
    const made = rows.map((row, number) => {
      const line = make("tr");
      line.setAttribute("role", "row");
      row.forEach((text, place) => {
        const cell = make("td", columns[place] && columns[place].right ? "walle-right" : "");
        const inner = make("bdi", "", text);  // letters that run from right to left stay in their cell
        if (text.length > 40) cell.title = text;
        cell.setAttribute("role", "gridcell");
        cell.append(inner);
        line.append(cell);
      });
      line.addEventListener("click", () => { active = number; focus(number); select(number); });
      return line;
    });
    body.replaceChildren(...made);
    active = Math.max(0, Math.min(Math.max(model.get("selected"), held ? active : 0), rows.length - 1));
    made.forEach((line, number) => { line.tabIndex = number === active ? 0 : -1; });
    table.hidden = rows.length === 0;
    none.hidden = rows.length > 0;
    none.textContent = model.get("empty");
    note.textContent = model.get("note");
    const [before, after] = model.get("turns");
    for (const button of back) button.disabled = !before;
    for (const button of on) button.disabled = !after;
    const turns = before || after;
    for (const button of [...back, ...on]) button.hidden = !turns;
    on[1].hidden = !turns || model.get("endless");
    foot.hidden = !turns && model.get("note") === "";
    mark();
    if (held && made.length) focus(active);
  };
  const stop = listen(model, {
    "change:rows": draw, "change:columns": draw, "change:note": draw, "change:turns": draw,
    "change:empty": draw, "change:label": draw, "change:selected": mark,
  });
  draw();
  return stop;
}
export default { render };
