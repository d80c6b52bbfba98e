const HIGH = 240, AXIS = 64, FOOT = 22;

function render({ model, el }) {
  const box = make("div", "walle-candles"), canvas = make("canvas"), tip = make("div", "walle-told");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  tip.setAttribute("role", "status");
  box.append(canvas, tip);
  el.append(box);
  let places = [], cursor = -1, width = 0, stopped = false;

  const layout = () => {
    const before = model.get("before"), after = model.get("after"), count = before.length + after.length;
    const band = Math.min(model.get("missing"), Math.max(3, count * 0.25));  // a long gap does not press the candles together
    const step = Math.min(26, (width - AXIS - 8) / Math.max(1, count + band));
    const left = before.length * step, right = left + Math.max(band * step, 10);
    places = [
      ...before.map((bar, number) => ({ bar, x: AXIS + (number + 0.5) * step })),
      ...after.map((bar, number) => ({ bar, x: AXIS + right + (number + 0.5) * step })),
    ];
    return { step, left: AXIS + left, right: AXIS + right };
  };
  const words = ([time, open, high, low, close]) => `${time}: open ${open}, high ${high}, low ${low}, close ${close}`;
  const axis = (drawing, low, high, y, quiet) => {
    const digits = Math.max(0, Math.min(8, 2 - Math.floor(Math.log10(high - low || Math.abs(high) || 1))));
    drawing.textAlign = "right";
    drawing.textBaseline = "middle";
    for (let tick = 0; tick <= (high > low ? 4 : 0); tick++) {
      const price = low + (high - low) * tick / 4, at = Math.round(y(price)) + 0.5;
      drawing.globalAlpha = 0.18;
      drawing.strokeStyle = quiet;
      drawing.beginPath(); drawing.moveTo(AXIS, at); drawing.lineTo(width - 4, at); drawing.stroke();
      drawing.globalAlpha = 1;
      drawing.fillStyle = quiet;
      drawing.fillText(price.toFixed(digits), AXIS - 6, at);
    }
  };
  const draw = () => {
    if (stopped || !box.clientWidth) return;
    width = box.clientWidth;
    const drawing = sharp(canvas, width, HIGH), dark = isDark(), { step, left, right } = layout(), bottom = HIGH - FOOT;
    const rise = dark ? "#56b4e9" : "#0072b2", fall = dark ? "#e69f00" : "#d55e00";
    const ink = styled("--jp-content-font-color1", dark ? "#ddd" : "#222", box);
    const quiet = styled("--jp-content-font-color2", dark ? "#aaa" : "#666", box);
    canvas.setAttribute("aria-label", `${model.get("label")}. Left and right read the candles.`);
    drawing.clearRect(0, 0, width, HIGH);
    drawing.font = `11px ${styled("--jp-ui-font-family", "system-ui, sans-serif", box)}`;
    drawing.fillStyle = dark ? "rgba(240, 162, 58, 0.20)" : "rgba(213, 94, 0, 0.14)";
    drawing.fillRect(left, 6, right - left, bottom - 6);
    drawing.strokeStyle = fall;
    drawing.setLineDash([3, 3]);
    for (const edge of [left, right]) { drawing.beginPath(); drawing.moveTo(edge, 6); drawing.lineTo(edge, bottom); drawing.stroke(); }
    drawing.setLineDash([]);
    if (places.length) {
      const low = Math.min(...places.map((one) => one.bar[3])), high = Math.max(...places.map((one) => one.bar[2]));
      const pad = (high - low || Math.abs(high) || 1) * 0.06;
      const y = (price) => 6 + (high + pad - price) / (high - low + 2 * pad) * (bottom - 6), body = Math.max(1, Math.min(12, step * 0.7));
      axis(drawing, low, high, y, quiet);
      drawing.lineWidth = 1;
      places.forEach(({ bar, x }, number) => {
        const [, open, top, below, close] = bar, above = Math.min(y(open), y(close));
        drawing.strokeStyle = drawing.fillStyle = close >= open ? rise : fall;
        drawing.beginPath(); drawing.moveTo(x, y(top)); drawing.lineTo(x, y(below)); drawing.stroke();
        drawing.fillRect(x - body / 2, above, body, Math.max(1, Math.abs(y(open) - y(close))));
        if (number === cursor) { drawing.strokeStyle = ink; drawing.strokeRect(x - body / 2 - 2, y(top) - 3, body + 4, y(below) - y(top) + 6); }
      });
      const last = places[places.length - 1];
      drawing.fillStyle = quiet;
      drawing.textBaseline = "alphabetic";
      drawing.textAlign = "left";
      drawing.fillText(places[0].bar[0], AXIS, HIGH - 7);
      drawing.textAlign = "right";
      if (last.x - AXIS > 260) drawing.fillText(last.bar[0], Math.min(width - 4, last.x + step / 2), HIGH - 7);
    }
    tip.textContent = cursor >= 0 && places[cursor] ? words(places[cursor].bar) : model.get("band");
    canvas.dataset.drawn = String(performance.now());
  };
  const point = (number) => { if (number !== cursor) { cursor = number; draw(); } };
  const handlers = {
    pointermove: (event) => {
      const at = event.clientX - canvas.getBoundingClientRect().left, { step } = layout();
      point(places.findIndex((one) => Math.abs(one.x - at) <= step / 2));
    },
    pointerleave: () => point(-1),
    blur: () => point(-1),
    keydown: (event) => {
      const to = { ArrowLeft: cursor - 1, ArrowRight: cursor + 1, Home: 0, End: places.length - 1 }[event.key];
      if (to === undefined || !places.length) return;
      event.preventDefault();
      event.stopPropagation();
      point(Math.min(places.length - 1, Math.max(0, to)));
    },
  };
  for (const [event, handler] of Object.entries(handlers)) canvas.addEventListener(event, handler);
  const sized = new ResizeObserver(() => { if (box.clientWidth !== width) draw(); });
  sized.observe(box);
  const themed = onTheme(draw), fresh = () => { cursor = -1; draw(); };
  const heard = listen(model, { "change:before": fresh, "change:after": fresh, "change:band": fresh, "change:missing": fresh });
  draw();
  return () => { stopped = true; sized.disconnect(); themed(); heard(); };
}
export default { render };
