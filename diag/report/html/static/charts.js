/* The charts of a run: drawn with uPlot from the JSON beside them, in place of the still pictures. */
var diagCharts = (() => {
  "use strict";

  const SMOOTHINGS = [[0, "off"], [0.01, "1% of the run"], [0.02, "2%"], [0.05, "5%"], [0.1, "10%"], [0.2, "20%"]];
  const LEAST_SPAN = 2; // steps: a chart cannot be zoomed in further
  const LANE = 18; // pixels: height of the bar of a finding, as in diag/report/html/drawing.py
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const live = new Set();
  let palette = {};

  const colour = (name) =>
    (palette[name] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());

  dark.addEventListener("change", () => {
    palette = {};
    for (const chart of live) chart.redraw(false);
  });

  function make(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "text") made.textContent = value;
      else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child));
    return made;
  }

  function say(words) {
    document.getElementById("status").textContent = words;
  }

  /* Numbers */

  function short(value) {
    const size = Math.abs(value);
    if (value !== 0 && (size < 1e-3 || size >= 1e5)) return Number(value.toPrecision(3)).toExponential().replace("e+", "e");
    return String(Number(value.toPrecision(4)));
  }

  function ticks(low, high, logarithmic, wanted) {
    const found = [];
    if (!(high > low)) return [low];
    if (logarithmic) {
      const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
      const stride = Math.max(1, Math.ceil((last - first) / (wanted + 1)));
      const factors = last - first <= wanted / 2 ? [1, 2, 5] : [1];
      for (let power = first; power <= last; power += stride)
        for (const factor of factors) found.push(factor * Number(`1e${power}`));
      return found.filter((value) => value >= low && value <= high);
    }
    const span = high / wanted - low / wanted;
    const power = 10 ** Math.floor(Math.log10(span));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= span * 0.999);
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9 && found.length <= 2 * wanted + 2; i++) found.push(i * step);
    return found;
  }

  function cumulate(distances) {
    let sum = 0;
    return distances.map((distance) => (sum += distance));
  }

  /* The same average as diag/report/smoothing.py. */
  function smooth(steps, values, constant) {
    let total = 0, weight = 0;
    return values.map((value, i) => {
      const keep = i ? Math.exp((steps[i - 1] - steps[i]) / constant) : 1;
      total *= keep;
      weight *= keep;
      if (value === null) return null;
      total += value;
      weight += 1;
      return total / weight;
    });
  }

  /* One run */

  function open(container) {
    if (container.dataset.open) return;
    container.dataset.open = "true";
    const data = JSON.parse(container.querySelector("script").textContent);
    const whole = data.x[1] > data.x[0] ? [data.x[0], data.x[1]] : [data.x[0] - 0.5, data.x[0] + 0.5];
    const run = {id: container.dataset.run, data, whole, view: whole, smoothing: 0, at: null, panels: []};
    for (const panel of data.panels)
      for (const line of panel.lines) {
        line.x = cumulate(line.x);
        if (line.mx) line.mx = cumulate(line.mx);
      }
    const figures = [...container.querySelectorAll("figure")];
    run.tools = tools(run);
    container.prepend(run.tools.element);
    data.panels.forEach((panel, number) => run.panels.push(new Panel(run, panel, figures[number])));
    container.show = (first, last) => {
      const room = Math.max((last - first) * 0.1, LEAST_SPAN);
      zoom(run, Math.max(first - room, whole[0]), Math.min(last + room, whole[1]));
    };
    zoom(run, ...whole);
    return run;
  }

  function tools(run) {
    const select = make("select", {}, ...SMOOTHINGS.map(([share, name]) => make("option", {value: share, text: name})));
    select.addEventListener("change", () => {
      run.smoothing = Number(select.value);
      for (const panel of run.panels) panel.build();
    });
    const button = (name, sign, act) => {
      const made = make("button", {type: "button", "aria-label": name, title: name, text: sign});
      made.addEventListener("click", act);
      return made;
    };
    const buttons = {
      in: button("Zoom in", "+", () => scale(run, 0.5)),
      out: button("Zoom out", "\u2212", () => scale(run, 2)),
      earlier: button("Earlier steps", "\u25c0", () => move(run, -0.25)),
      later: button("Later steps", "\u25b6", () => move(run, 0.25)),
      all: button("All steps", "All", () => zoom(run, ...run.whole)),
    };
    const range = make("span", {class: "muted"});
    const element = make(
      "div",
      {class: "tools", role: "group", "aria-label": "Curves"},
      make("label", {class: "group"}, make("span", {text: "Smoothing"}), select),
      make("span", {class: "group"}, ...Object.values(buttons)),
      range,
    );
    return {element, buttons, range};
  }

  function zoom(run, low, high) {
    const [first, last] = run.whole;
    const span = Math.min(Math.max(high - low, LEAST_SPAN), last - first);
    const start = Math.min(Math.max(low, first), last - span);
    run.view = [start, start + span];
    const all = span >= last - first;
    for (const name of ["out", "earlier", "later", "all"]) run.tools.buttons[name].disabled = all;
    run.tools.buttons.in.disabled = span <= LEAST_SPAN;
    run.tools.range.textContent = all ? (matchMedia("(pointer: coarse)").matches ? "" : "drag over a chart to zoom") : `steps ${Math.round(start).toLocaleString("en")}\u2013${Math.round(start + span).toLocaleString("en")}`;
    for (const panel of run.panels) panel.look();
  }

  function scale(run, factor, around = null) {
    const [low, high] = run.view;
    const middle = around !== null && around >= low && around <= high ? around : (low + high) / 2;
    zoom(run, middle - (middle - low) * factor, middle + (high - middle) * factor);
  }

  function move(run, share) {
    const way = (run.view[1] - run.view[0]) * share;
    zoom(run, run.view[0] + way, run.view[1] + way);
  }

  class Panel {
    constructor(run, data, figure) {
      this.run = run;
      this.data = data;
      this.log = data.log;
      this.hidden = new Set();
      this.still = figure.querySelector(".static");
      this.still.hidden = true;
      this.first = figure.matches(":first-child");
      const help = "Left and right read the values, plus and minus zoom, 0 shows all steps.";
      this.place = make("div", {class: "chart", tabindex: "0", role: "application", "aria-label": `${data.title}, chart. ${help}`});
      this.row = make("div", {class: "bar-row"});
      figure.append(this.place, this.row);
      this.place.addEventListener("keydown", (event) => this.key(event));
      this.keys(figure);
      this.scaleButton(figure);
      this.bars();
      this.build();
      new ResizeObserver(() => this.resize()).observe(this.place);
    }

    /* The legend becomes buttons that show the values under the cursor and take curves away. */
    keys(figure) {
      this.values = [];
      figure.querySelectorAll(".key").forEach((key, number) => {
        const value = make("span", {class: "value"});
        const button = make("button", {type: "button", "aria-pressed": "true", title: "Show or hide this curve"});
        button.append(...[...key.children].map((child) => child.cloneNode(true)), value);
        button.addEventListener("click", () => {
          const shows = this.hidden.delete(number) || !this.hidden.add(number);
          button.setAttribute("aria-pressed", String(shows));
          this.build();
        });
        key.hidden = true;
        key.before(button);
        this.values.push(value);
      });
    }

    scaleButton(figure) {
      if (!this.data.lines.some((line) => line.y.some((value) => value > 0))) return;
      const button = make("button", {type: "button", class: "scale", "aria-pressed": String(this.log), "aria-label": `Log scale, ${this.data.title}`, text: "log scale"});
      button.addEventListener("click", () => {
        this.log = !this.log;
        button.setAttribute("aria-pressed", String(this.log));
        this.build();
      });
      figure.querySelector("figcaption").append(button);
    }

    bars() {
      this.links = this.data.bands.map(([finding, row, label, severity, start, end]) => {
        const bar = make("i");
        const link = make("a", {href: `#${this.run.id}-finding-${finding}`, class: severity}, make("span", {text: label}), bar);
        link.style.top = `${row * LANE}px`;
        this.row.append(link);
        return {link, bar, start, end};
      });
      this.row.style.height = `${LANE * Math.max(0, ...this.data.bands.map((band) => band[1] + 1))}px`;
    }

    size() {
      return {width: Math.max(this.place.clientWidth, 120), height: this.first ? 284 : 184};
    }

    series() {
      const tables = [], series = [{}];
      this.drawn = [];
      const add = (x, y, options, number) => {
        tables.push([x, this.log ? y.map((value) => (value > 0 ? value : null)) : y]);
        series.push({spanGaps: false, ...options});
        this.drawn.push(number);
      };
      this.data.lines.forEach((line, number) => {
        if (this.hidden.has(number)) return;
        const stroke = () => colour(`c${line.colour}`);
        const points = {size: 6, stroke, fill: stroke, ...(line.eval && line.x.length <= 150 ? {show: true} : {})};
        if (!this.run.smoothing) return add(line.x, line.y, {stroke, width: 1.6, dash: line.dash, points}, number);
        add(line.x, line.y, {stroke, width: 1, alpha: 0.25, points: {show: false}}, null);
        const [x, y] = line.mx ? [line.mx, line.my] : [line.x, line.y];
        const length = this.run.data.x[1] - this.run.data.x[0];
        add(x, smooth(x, y, this.run.smoothing * length), {stroke, width: 2, dash: line.dash, points: {show: false}}, number);
      });
      const projected = this.data.projection;
      if (projected) add(projected.x, projected.y, {stroke: () => colour("ink"), width: 1.6, dash: [3, 3], points: {show: false}}, null);
      if (!tables.length) return [[this.run.whole, [null, null]], [{}, {}]];
      return [uPlot.join(tables), series];
    }

    build() {
      if (this.plot) {
        live.delete(this.plot);
        this.plot.destroy();
      }
      const [table, series] = this.series();
      const axis = {stroke: () => colour("muted"), font: "12px system-ui, sans-serif", ticks: {show: false}, grid: {width: 1, stroke: () => colour("grid")}};
      const narrow = matchMedia("(max-width: 560px)").matches;
      this.plot = new uPlot(
        {
          ...this.size(),
          padding: [10, 26, 0, 0],
          legend: {show: false},
          cursor: {
            sync: {key: this.run.id, scales: ["x", null], filters: {pub: (type) => type === "mousemove" || type === "mouseleave"}},
            drag: {x: true, y: false, setScale: false},
            bind: {dblclick: () => () => zoom(this.run, ...this.run.whole)},
            points: {size: 7},
            y: false,
          },
          scales: {
            x: {time: false, range: () => this.run.view},
            y: {distr: this.log ? 3 : 1, range: (plot, low, high) => this.range(low, high)},
          },
          series,
          axes: [
            {...axis, size: 26, gap: 4, splits: (plot, i, low, high) => ticks(low, high, false, narrow ? 3 : 6).filter(Number.isInteger), values: (plot, splits) => splits.map((step) => step.toLocaleString("en"))},
            {...axis, size: narrow ? 46 : 58, gap: 6, splits: (plot, i, low, high) => ticks(low, high, this.log, this.first ? 6 : 4), values: (plot, splits) => splits.map(short)},
          ],
          hooks: {
            drawClear: [(plot) => this.drawBands(plot)],
            draw: [(plot) => this.drawMarks(plot)],
            setCursor: [() => this.read()],
            setSelect: [(plot) => this.selected(plot)],
          },
        },
        table,
        this.place,
      );
      live.add(this.plot);
      this.look();
    }

    range(low, high) {
      if (low === null) return this.log ? [1, 10] : [0, 1];
      if (this.log) {
        const room = Math.max(Math.log10(high) - Math.log10(low), 0.02) * 0.05;
        return [Math.max(low * 10 ** -room, 1e-305), Math.min(high * 10 ** room, 1e305)];
      }
      const room = high > low ? (high - low) * 0.05 : Math.abs(low) * 0.05 || 1;
      return [low - room, high + room];
    }

    look() {
      const [min, max] = this.run.view;
      this.plot.setScale("x", {min, max});
      this.placeBars();
    }

    resize() {
      const size = this.size();
      if (size.width === this.plot.width) return;
      this.plot.setSize(size);
      this.placeBars();
    }

    selected(plot) {
      const {left, width} = plot.select;
      if (width < 4) return;
      const [low, high] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
      plot.setSelect({left: 0, top: 0, width: 0, height: 0}, false);
      zoom(this.run, low, high);
    }

    placeBars() {
      const [low, high] = this.run.view;
      const width = this.row.clientWidth;
      for (const {link, bar, start, end} of this.links) {
        const place = (step) => Math.min(Math.max(((step - low) / (high - low)) * width, 0), width);
        link.hidden = end < low || start > high;
        const left = Math.max(Math.min(place(start), width - link.offsetWidth), 0);
        link.style.left = `${left}px`;
        bar.style.left = `${place(start) - left}px`;
        bar.style.width = `${Math.max(place(end) - place(start), 3)}px`;
      }
    }

    /* Canvas */

    inside(plot, draw) {
      const {ctx, bbox} = plot;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      draw(ctx, bbox, (step) => plot.valToPos(step, "x", true));
      ctx.restore();
    }

    drawBands(plot) {
      this.inside(plot, (ctx, box, x) => {
        for (const [, , , severity, start, end] of this.data.bands) {
          ctx.globalAlpha = Number(colour(`${severity}-opacity`)) * (dark.matches ? 1.6 : 1);
          ctx.fillStyle = colour(severity);
          ctx.fillRect(x(start), box.top, Math.max(x(end) - x(start), 2 * devicePixelRatio), box.height);
        }
      });
    }

    drawMarks(plot) {
      const ratio = devicePixelRatio;
      this.inside(plot, (ctx, box, x) => {
        const best = this.run.data.best;
        if (best !== null) {
          ctx.strokeStyle = ctx.fillStyle = colour("ink");
          ctx.lineWidth = 1.3 * ratio;
          ctx.setLineDash([ratio, 3 * ratio]);
          ctx.beginPath();
          ctx.moveTo(x(best), box.top);
          ctx.lineTo(x(best), box.top + box.height);
          ctx.stroke();
          ctx.setLineDash([]);
          if (this.first) this.write(ctx, box, `best ${best.toLocaleString("en")}`, x(best) + 4 * ratio, box.top + box.height - 6 * ratio);
        }
        ctx.strokeStyle = colour("error");
        ctx.lineWidth = 1.6 * ratio;
        for (const step of this.data.bad) {
          const [a, b, d] = [x(step), box.top + 7 * ratio, 3 * ratio];
          ctx.beginPath();
          ctx.moveTo(a - d, b - d);
          ctx.lineTo(a + d, b + d);
          ctx.moveTo(a - d, b + d);
          ctx.lineTo(a + d, b - d);
          ctx.stroke();
        }
        const projected = this.data.projection;
        if (projected) {
          this.write(ctx, box, projected.text, Infinity, plot.valToPos(projected.y[0], "y", true) - 8 * ratio);
        }
      });
    }

    write(ctx, box, words, x, y) {
      ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
      ctx.fillStyle = colour("ink");
      ctx.strokeStyle = colour("card");
      ctx.lineWidth = 3 * devicePixelRatio;
      ctx.textAlign = "left";
      ctx.textBaseline = "alphabetic";
      const left = Math.min(x, box.left + box.width - ctx.measureText(words).width - 2 * devicePixelRatio);
      ctx.strokeText(words, left, y);
      ctx.fillText(words, left, y);
    }

    /* Reading values */

    read(plot = this.plot) {
      if (!plot) return;
      this.drawn.forEach((number, i) => {
        if (number === null) return;
        const at = plot.cursor.left >= 0 ? plot.cursor.idxs?.[i + 1] : null;
        const value = at == null ? null : plot.data[i + 1][at];
        this.values[number].textContent = value == null ? "" : short(value);
      });
    }

    key(event) {
      const act = {
        ArrowLeft: () => this.step(-1),
        ArrowRight: () => this.step(1),
        Home: () => this.step(-Infinity),
        End: () => this.step(Infinity),
        "+": () => scale(this.run, 0.5, this.run.at),
        "=": () => scale(this.run, 0.5, this.run.at),
        "-": () => scale(this.run, 2, this.run.at),
        0: () => zoom(this.run, ...this.run.whole),
        Escape: () => zoom(this.run, ...this.run.whole),
      }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    }

    /* To the next point in a direction; the view follows. */
    step(way) {
      const steps = this.plot.data[0];
      let at = this.run.at === null ? (way > 0 ? -1 : steps.length) : nearest(steps, this.run.at);
      at = Math.min(Math.max(Number.isFinite(way) ? at + way : way > 0 ? steps.length - 1 : 0, 0), steps.length - 1);
      this.run.at = steps[at];
      const [low, high] = this.run.view;
      if (this.run.at < low || this.run.at > high) zoom(this.run, this.run.at - (high - low) / 2, this.run.at + (high - low) / 2);
      this.plot.setCursor({left: this.plot.valToPos(this.run.at, "x"), top: 10}, true, true);
      const read = this.drawn.map((number, i) => [number, this.plot.data[i + 1][at]]).filter(([number, value]) => number !== null && value != null);
      const words = read.map(([number, value]) => `${this.data.lines[number].name} ${short(value)}`);
      say(`Step ${this.run.at.toLocaleString("en")}: ${words.join(", ")}`);
    }
  }

  function nearest(steps, step) {
    let best = 0;
    for (let i = 1; i < steps.length; i++) if (Math.abs(steps[i] - step) < Math.abs(steps[best] - step)) best = i;
    return best;
  }

  return {open, make, say, smooth};
})();
