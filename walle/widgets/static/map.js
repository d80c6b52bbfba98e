const DAY = 86400000, GUTTER = 148, RIGHT = 62, TOP = 24, MOST = 420, ROW = 20, FINE = 2;

const inflate = async (view) => {
  const bytes = new Blob([view]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(bytes).arrayBuffer());
};

// when a column begins: days, weeks of seven, or months of the calendar
const clock = (first, period) => {
  if (period !== "month") {
    const step = period === "week" ? 7 * DAY : DAY;
    return { at: (column) => first + column * step, column: (time) => (time - first) / step };
  }
  const start = new Date(first), begin = start.getUTCFullYear() * 12 + start.getUTCMonth();
  const opens = (month) => Date.UTC(Math.floor(month / 12), month % 12);
  return {
    at: (column) => {
      const whole = Math.floor(column), from = opens(begin + whole);
      return from + (column - whole) * (opens(begin + whole + 1) - from);
    },
    column: (time) => {
      const when = new Date(time), month = when.getUTCFullYear() * 12 + when.getUTCMonth(), from = opens(month);
      return month - begin + (time - from) / (opens(month + 1) - from);
    },
  };
};

// the marks of the axis: days, months or years, as many as there is space for
const ticks = (from, to, width) => {
  const perDay = width / ((to - from) / DAY), found = [], iso = (at, length) => new Date(at).toISOString().slice(0, length);
  if (perDay * 30 > 400) {
    const every = Math.max(1, Math.ceil(84 / perDay));
    for (let day = Math.ceil(from / DAY / every) * every; day * DAY < to; day += every) found.push([day * DAY, iso(day * DAY, 10)]);
    return found;
  }
  const years = perDay * 365 < 420, step = years ? 12 * Math.max(1, Math.ceil(44 / (perDay * 365))) : Math.max(1, Math.ceil(64 / (perDay * 30)));
  const start = new Date(from);
  for (let month = Math.ceil((start.getUTCFullYear() * 12 + start.getUTCMonth()) / step) * step; ; month += step) {
    const at = Date.UTC(Math.floor(month / 12), month % 12);
    if (at >= to) return found;
    if (at >= from) found.push([at, iso(at, years ? 4 : 7)]);
  }
};

function render({ model, el }) {
  const box = make("div", "walle-map"), bar = make("div", "walle-bar"), holder = make("div", "walle-holder");
  const canvas = make("canvas"), tip = make("div", "walle-tip"), legend = make("ul", "walle-key");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  tip.setAttribute("role", "status");
  tip.hidden = true;
  holder.append(canvas, tip);
  el.append(box);
  let levels = null, rows = 0, columns = 0, time = clock(0, "day");
  let view = null;    // what is seen: from and to in milliseconds, top and bottom in rows
  let cursor = null;  // the row and column of the keyboard, or under the mouse
  let focused = false, drag = null, stopped = false, width = 0, height = 0, said = 0, rest = 0, asked = 0, turn = 0;

  const ready = () => levels !== null && rows > 0 && columns > 0;
  const area = () => ({ left: GUTTER, top: TOP, width: Math.max(40, width - GUTTER - RIGHT), height: height - TOP });
  const x = (at) => GUTTER + (at - view.from) / (view.to - view.from) * area().width;
  const y = (row) => TOP + (row - view.top) / (view.bottom - view.top) * area().height;
  const ends = () => [time.at(0), time.at(columns)];
  const wide = () => area().width / (time.column(view.to) - time.column(view.from));
  const high = () => area().height / (view.bottom - view.top);
  const within = (value, low, most) => Math.min(most, Math.max(low, value));

  const whole = () => { const [from, to] = ends(); view = { from, to, top: 0, bottom: rows }; };
  const clamp = () => {
    const [from, to] = ends(), long = within(view.to - view.from, Math.min(to - from, 7 * DAY), to - from);
    view.from = within(view.from, from, to - long);
    view.to = view.from + long;
    const tall = within(view.bottom - view.top, Math.min(rows, 3), rows);
    view.top = within(view.top, 0, rows - tall);
    view.bottom = view.top + tall;
  };
  const changed = () => {  // draws, and says how much is seen when the hand rests
    clamp();
    draw();
    clearTimeout(rest);
    rest = setTimeout(() => {
      const days = (view.to - view.from) / DAY;
      if (Math.abs(days - said) > 0.5) { said = days; model.send({ kind: "span", days }); }
    }, 160);
  };
  const zoom = (factor, at) => {
    if (!ready()) return;
    const [when, row] = at || (cursor && focused ? [time.at(cursor[1] + 0.5), cursor[0] + 0.5]
      : [(view.from + view.to) / 2, (view.top + view.bottom) / 2]);
    view.from = when + (view.from - when) * factor;
    view.to = when + (view.to - when) * factor;
    if (factor > 1 || high() < ROW) {  // rows grow until their names can be read
      const tall = Math.min(rows, Math.max((view.bottom - view.top) * factor, area().height / ROW));
      const share = (row - view.top) / (view.bottom - view.top);
      view.top = row - share * tall;
      view.bottom = view.top + tall;
    }
    changed();
  };

  // cells that share a spot are drawn as their mean, and never as complete when one of them is not
  const weights = model.get("weights");
  const together = (r0, r1, c0, c1) => {
    if (r1 - r0 === 1 && c1 - c0 === 1) return levels[r0 * columns + c0];
    let count = 0, sum = 0, whole = true;
    for (let row = r0; row < r1; row++) {
      for (let place = row * columns + c0, end = row * columns + c1; place < end; place++) {
        const level = levels[place];
        if (level === 0) continue;
        count += 1;
        sum += weights[level];
        whole = whole && level === 1;
      }
    }
    if (whole) return count ? 1 : 0;
    const mean = sum / count;
    return 2 + (mean < 0.99) + (mean < 0.9) + (mean < 0.5) + (mean === 0);
  };
  // spots along one axis: a cell each, or several cells where a cell is finer than a spot: [first, stop, begin, end]
  const spots = (from, to, count, begin, size, gap) => {
    const per = size / (to - from), made = [];
    if (per >= FINE) {
      for (let cell = Math.max(0, Math.floor(from)); cell < Math.min(count, to); cell++) {
        const left = begin + (cell - from) * per, right = begin + (cell + 1 - from) * per;
        made.push([cell, cell + 1, Math.max(begin, left), Math.min(begin + size, right - gap(per))]);
      }
      return made;
    }
    const total = Math.floor(size / FINE);
    for (let spot = 0; spot < total; spot++) {
      const first = Math.floor(from + spot / total * (to - from)), stop = Math.ceil(from + (spot + 1) / total * (to - from));
      if (first >= count) break;
      made.push([Math.max(0, first), Math.min(count, Math.max(first + 1, stop)), begin + spot * FINE, begin + (spot + 1) * FINE]);
    }
    return made;
  };
  const paint = (drawing, palette) => {
    const zone = area();
    const down = spots(view.top, view.bottom, rows, zone.top, zone.height, (per) => (per >= 8 ? 2 : per >= 4 ? 1 : 0));
    const along = spots(time.column(view.from), time.column(view.to), columns, zone.left, zone.width, (per) => (per >= 7 ? 1 : 0));
    for (const spot of [...down, ...along]) { spot[2] = Math.round(spot[2]); spot[3] = Math.round(spot[3]); }  // no blurred edges
    for (const [r0, r1, top, bottom] of down) {
      let left = 0, right = 0, colour = 0;  // neighbours of one colour are one stroke
      const flush = () => { if (colour) { drawing.fillStyle = palette[colour]; drawing.fillRect(left, top, right - left, bottom - top); } };
      for (const [c0, c1, begin, end] of along) {
        const level = together(r0, r1, c0, c1);
        if (level !== colour || begin - right > 0.5) { flush(); left = begin; colour = level; }
        right = end;
      }
      flush();
    }
  };
  const shorten = (drawing, text, most) => {
    if (drawing.measureText(text).width <= most) return text;
    let kept = [...text];
    while (kept.length > 1 && drawing.measureText(kept.join("") + "\u2026").width > most) kept.pop();
    return kept.join("") + "\u2026";
  };
  const write = (drawing, ink, quiet, brand) => {
    const zone = area(), names = model.get("names"), shares = model.get("shares"), selected = model.get("selected");
    const every = Math.max(1, Math.ceil(15 / high())), font = styled("--jp-ui-font-family", "system-ui, sans-serif", box);
    drawing.font = `12px ${font}`;
    drawing.textBaseline = "middle";
    for (let row = Math.ceil(view.top / every) * every; row < Math.min(rows, view.bottom); row += every) {
      const middle = y(row + 0.5);
      if (middle < TOP + 3 || middle > height - 2 || !names[row]) continue;
      const [symbol, timeframe] = names[row];
      drawing.textAlign = "right";
      drawing.fillStyle = quiet;
      drawing.fillText(timeframe, GUTTER - 8, middle);
      drawing.fillText(shares[row], width - 4, middle);
      drawing.textAlign = "left";
      drawing.fillStyle = row === selected ? brand : ink;
      drawing.fillText(shorten(drawing, symbol, GUTTER - 20 - drawing.measureText(timeframe).width), 4, middle);
    }
    drawing.font = `11px ${font}`;
    drawing.fillStyle = drawing.strokeStyle = quiet;
    drawing.lineWidth = 1;
    const marks = ticks(view.from, view.to, zone.width);
    for (const [at, text] of marks.length ? marks : [[view.from, new Date(view.from).toISOString().slice(0, 10)]]) {
      const left = Math.round(x(at)) + 0.5;
      drawing.beginPath(); drawing.moveTo(left, TOP - 18); drawing.lineTo(left, TOP - 3); drawing.stroke();
      if (left + drawing.measureText(text).width < width - 2) drawing.fillText(text, left + 4, TOP - 12);
    }
  };
  const draw = () => {
    if (stopped || !ready()) return;
    width = holder.clientWidth || 900;
    height = TOP + within(rows * ROW, ROW, MOST);
    const drawing = sharp(canvas, width, height), dark = isDark(), zone = area();
    const ink = styled("--jp-content-font-color1", dark ? "#ddd" : "#222", box);
    const quiet = styled("--jp-content-font-color2", dark ? "#aaa" : "#666", box);
    drawing.clearRect(0, 0, width, height);
    paint(drawing, model.get(dark ? "dark" : "light"));
    write(drawing, ink, quiet, styled("--jp-brand-color1", "#1976d2", box));
    if (cursor && !tip.hidden) {
      const left = Math.max(zone.left, x(time.at(cursor[1]))), right = Math.min(zone.left + zone.width, x(time.at(cursor[1] + 1)));
      const top = Math.max(TOP, y(cursor[0])), bottom = Math.min(height, y(cursor[0] + 1));
      drawing.lineWidth = 1.5;
      drawing.strokeStyle = ink;
      if (right >= left && bottom >= top) drawing.strokeRect(left - 1, top - 1, Math.max(4, right - left + 1), Math.max(4, bottom - top + 1));
    }
    canvas.dataset.drawn = String(performance.now());
  };

  const told = (row, column) => {
    const [symbol, timeframe] = model.get("names")[row], period = model.get("period");
    const day = new Date(time.at(column)).toISOString().slice(0, 10);
    return `${symbol} ${timeframe}, ${period === "day" ? "" : `${period} of `}${day}: ${model.get("levels")[levels[row * columns + column]]}`;
  };
  const show = (text) => {
    tip.textContent = text;
    tip.hidden = text === "";
    if (!cursor || tip.hidden) return;
    tip.style.left = "0px";  // its width is that of its text, wherever it stood
    const left = within(x(time.at(cursor[1] + 0.5)) - 60, 0, Math.max(0, width - tip.offsetWidth - 4));
    const below = y(cursor[0] + 1) + 7, above = y(cursor[0]) - tip.offsetHeight - 7;
    tip.style.left = `${left}px`;
    tip.style.top = `${below + tip.offsetHeight > height && above > -20 ? above : below}px`;
  };
  const point = (row, column) => {  // says at once what the page knows; the numbers come from the kernel
    if (cursor && cursor[0] === row && cursor[1] === column && !tip.hidden) return;
    cursor = [row, column];
    show(told(row, column));
    draw();
    clearTimeout(asked);
    asked = setTimeout(() => model.send({ kind: "hover", row, column }), 40);
  };
  const leave = () => {
    clearTimeout(asked);
    if (tip.hidden) return;
    show("");
    draw();
  };
  // the cell that is meant: of several that share the spot the worst one
  const under = (event) => {
    const rect = canvas.getBoundingClientRect(), zone = area(), left = event.clientX - rect.left, top = event.clientY - rect.top;
    if (top < zone.top || top >= height) return null;
    const at = view.from + (left - zone.left) / zone.width * (view.to - view.from);
    const row = within(Math.floor(view.top + (top - zone.top) / high()), 0, rows - 1);
    if (left < zone.left || left > zone.left + zone.width) return { row, column: null, at };
    let best = [row, within(Math.floor(time.column(at)), 0, columns - 1)];
    const down = high() >= FINE ? 0 : Math.ceil(FINE / high()), along = wide() >= FINE ? 0 : Math.ceil(FINE / wide());
    let level = -1;
    for (let r = Math.max(0, row - down); r <= Math.min(rows - 1, row + down); r++) {
      for (let c = Math.max(0, best[1] - along), stop = Math.min(columns - 1, best[1] + along); c <= stop; c++) {
        if (levels[r * columns + c] > level) { level = levels[r * columns + c]; if (down || along) best = [r, c]; }
      }
    }
    return { row: best[0], column: best[1], at };
  };
  const open = (row, column) => model.send(column === null ? { kind: "open", row } : { kind: "open", row, column });

  const handlers = {
    pointerdown: (event) => {
      if (!ready() || event.button) return;
      drag = { x: event.clientX, y: event.clientY, moved: false, ...view };
      canvas.setPointerCapture(event.pointerId);
    },
    pointermove: (event) => {
      if (!ready()) return;
      if (drag && event.buttons) {
        const dx = event.clientX - drag.x, dy = event.clientY - drag.y, zone = area();
        drag.moved = drag.moved || Math.abs(dx) + Math.abs(dy) > 4;
        if (drag.moved) {
          const left = dx / zone.width * (drag.to - drag.from), up = dy / zone.height * (drag.bottom - drag.top);
          view = { from: drag.from - left, to: drag.to - left, top: drag.top - up, bottom: drag.bottom - up };
          leave();
          changed();
          return;
        }
      }
      const found = under(event);
      canvas.style.cursor = !found ? "default" : found.column === null ? "pointer" : "crosshair";
      if (found && found.column !== null) point(found.row, found.column); else leave();
    },
    pointerup: (event) => {
      const moved = drag === null || drag.moved;
      drag = null;
      const found = moved || !ready() ? null : under(event);
      if (found) open(found.row, found.column);
    },
    pointerleave: leave,
    wheel: (event) => {
      if (!ready()) return;
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        const found = under(event);
        zoom(event.deltaY > 0 ? 1.25 : 0.8, found ? [found.at, found.row + 0.5] : undefined);
      } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        event.preventDefault();
        const by = (event.deltaX || event.deltaY) / area().width * (view.to - view.from);
        view.from += by; view.to += by;
        changed();
      } else if (view.bottom - view.top < rows) {
        const by = event.deltaY / high(), top = view.top;
        view.top += by; view.bottom += by;
        changed();
        if (view.top !== top) event.preventDefault();  // at its ends the page scrolls on
      }
    },
    keydown: (event) => {
      if (!ready() || event.altKey || event.ctrlKey || event.metaKey) return;
      const [row, column] = cursor || [Math.floor(view.top), within(Math.floor(time.column(view.from)), 0, columns - 1)];
      const page = Math.max(1, Math.floor((view.bottom - view.top) / 2));
      const moves = {
        ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
        Home: [row, 0], End: [row, columns - 1], PageUp: [row - page, column], PageDown: [row + page, column],
      };
      const acts = {
        "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => { whole(); changed(); },
        Enter: () => open(row, column), " ": () => open(row, column), Escape: leave,
      };
      const act = acts[event.key], move = moves[event.key];
      if (!act && !move) return;
      event.preventDefault();
      event.stopPropagation();  // the notebook has its own meaning for these keys
      if (act) { act(); return; }
      const [r, c] = cursor ? [within(move[0], 0, rows - 1), within(move[1], 0, columns - 1)] : [row, column];
      const tall = view.bottom - view.top, long = view.to - view.from;  // the cursor stays in sight
      if (r < view.top) { view.top = r; view.bottom = r + tall; }
      if (r + 1 > view.bottom) { view.bottom = r + 1; view.top = view.bottom - tall; }
      if (time.at(c) < view.from) { view.from = time.at(c); view.to = view.from + long; }
      if (time.at(c + 1) > view.to) { view.to = time.at(c + 1); view.from = view.to - long; }
      clamp();
      point(r, c);
    },
    focus: () => { focused = true; },
    blur: () => { focused = false; cursor = null; leave(); },
  };
  for (const [event, handler] of Object.entries(handlers)) canvas.addEventListener(event, handler, event === "wheel" ? { passive: false } : undefined);

  const button = (text, title, act) => {
    const made = make("button", "walle-turn", text);
    made.type = "button";
    made.title = title;
    made.setAttribute("aria-label", title);
    made.addEventListener("click", act);
    return made;
  };
  bar.append(
    button("+", "zoom in", () => zoom(0.5)), button("\u2212", "zoom out", () => zoom(2)),
    button("all", "see all", () => { if (ready()) { whole(); changed(); } }), legend,
  );
  box.append(holder, bar);

  const load = async () => {
    const mine = ++turn, data = model.get("data"), bytes = data.byteLength ? await inflate(data) : new Uint8Array(0);
    if (stopped || mine !== turn) return;  // newer cells came meanwhile
    const before = ready() ? view : null, old = before && ends(), count = rows;
    levels = bytes;
    rows = model.get("names").length;
    columns = model.get("columns");
    time = clock(model.get("first"), model.get("period"));
    canvas.setAttribute("aria-label", `${model.get("label")}. Arrows move, Enter opens the gaps of a series, plus and minus zoom, 0 shows all.`);
    cursor = null;
    show("");
    box.hidden = !ready();
    if (!ready()) return;
    whole();
    if (before && (before.from > old[0] + 1 || before.to < old[1] - 1)) { view.from = before.from; view.to = before.to; }
    if (before && count === rows) { view.top = before.top; view.bottom = before.bottom; }
    clamp();
    said = (view.to - view.from) / DAY;
    draw();
  };
  const explain = () => {
    const palette = model.get(isDark() ? "dark" : "light");
    legend.replaceChildren(...model.get("levels").slice(1).map((text, place) => {
      const item = make("li"), swatch = make("span", "walle-swatch");
      swatch.style.background = palette[place + 1];
      item.append(swatch, make("span", "", text));
      return item;
    }));
  };
  const answered = (message) => {
    if (message.kind === "told" && cursor && !tip.hidden && cursor[0] === message.row && cursor[1] === message.column) show(message.text);
  };
  const sized = new ResizeObserver(() => { if (holder.clientWidth && holder.clientWidth !== width) draw(); });
  sized.observe(holder);
  const themed = onTheme(() => { explain(); draw(); });
  const heard = listen(model, { "change:data": load, "change:names": load, "change:first": load, "change:selected": draw, "msg:custom": answered });
  explain();
  load();
  return () => { stopped = true; clearTimeout(rest); clearTimeout(asked); sized.disconnect(); themed(); heard(); };
}
export default { render };
