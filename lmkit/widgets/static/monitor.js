// The page's side of lmkit's monitor: draws what the kernel tells, asks for what a person wants.
//
// Kernel → page: {type: "news", runs: [{run, status?, metric?, marks?, sample?, steps?, epochs?}], anew} with a buffer of float32
// for each `steps` and `epochs`; "detail" likewise; "plotly" with plotly.js, gzipped; "refused" and "said" with a text.
// Page → kernel: "hello" (tell everything), "plotly", "zoom", "mirror", and the verbs of a run.

// Rows of the buffers, in the order of lmkit.feed's STEP_LINES and EPOCH_LINES.
const STEP = {low: 0, high: 1, mean: 2, lr: 3, normLow: 4, normHigh: 5}
const EPOCH = {step: 0, loss: 1, valLow: 2, valHigh: 3, metric: 4, valMetricLow: 5, valMetricHigh: 6}
const ROWS = {steps: 6, epochs: 7}
const LIVE = ["pending", "running", "paused"]
const SILENCE = 15 // seconds without a word after which we say so

// -- what is known of a run ----------------------------------------------------------------------

class Series {
  constructor(rows) {
    Object.assign(this, {rows: Array.from({length: rows}, () => new Float32Array(0)), width: 1, count: 0, n: 0})
  }

  take({first, width, n, count}, values) {
    const grown = this.rows.map((row, i) => {
      const next = new Float32Array(first + n)
      next.set(row.subarray(0, first))
      next.set(values.subarray(i * n, (i + 1) * n), first)
      return next
    })
    Object.assign(this, {rows: grown, width, count, n: first + n})
  }
}

// Where bucket i of consecutive steps lies: its middle, steps counted from 1.
const middles = (start, width, n, count) =>
  Array.from({length: n}, (_, i) => start + i * width + (Math.min(width, count - i * width) + 1) / 2)

// A band of lowest and highest values as one line that touches both.
function band(x, low, high) {
  const xs = [], ys = []
  x.forEach((at, i) => {
    if (Number.isNaN(low[i])) return
    xs.push(at)
    ys.push(low[i])
    if (high[i] !== low[i]) (xs.push(at), ys.push(high[i]))
  })
  return {x: xs, y: ys}
}

// Leaves of a line what lies between two steps, and a point more at each end.
function cut(trace, [from, to]) {
  const inside = (i) => trace.x[i] >= from && trace.x[i] <= to
  const kept = trace.x.map((_, i) => i).filter((i) => inside(i) || inside(i - 1) || inside(i + 1))
  trace.x = kept.map((i) => trace.x[i])
  trace.y = kept.map((i) => trace.y[i])
}

// The course of the losses: an average that forgets; of logarithms where they are drawn so.
function smoothed(x, values, log) {
  const share = 2 / (Math.max(3, values.length / 25) + 1), ys = []
  let sum = 0, weight = 0
  for (const value of values) {
    if (Number.isFinite(value) && (!log || value > 0)) {
      sum = (1 - share) * sum + share * (log ? Math.log(value) : value)
      weight = (1 - share) * weight + share
    }
    ys.push(weight ? (log ? Math.exp(sum / weight) : sum / weight) : NaN)
  }
  return {x, y: ys}
}

// -- the view ------------------------------------------------------------------------------------

class View extends PageView {
  constructor(model, el) {
    super(model)
    this.colours = model.get("colours")
    this.runs = model.get("runs").map((run, i) => ({
      ...run, status: {state: "pending"}, marks: [], metric: "", steps: new Series(ROWS.steps), epochs: new Series(ROWS.epochs),
      colour: this.colours.runs[i % this.colours.runs.length],
    }))
    this.chosen = 0
    this.log = null // null: as the losses want it
    this.range = null
    this.heard = Date.now()
    this.root = element("div", {class: "lmkit-monitor", role: "group", "aria-label": "training monitor",
      "data-lm-suppress-shortcuts": "true", onkeydown: passOn}) // Enter and Space press our buttons, not the notebook's keys
    this.root.append(this.head(), this.charts(), this.foot())
    el.append(this.root)
    this.connect(this.root)
  }

  // -- its parts

  head() {
    const rows = this.runs.map((run, i) => {
      const button = (label, title, ask) =>
        element("button", {type: "button", title, "aria-label": `${label} ${run.name}`, onclick: ask}, label)
      run.parts = {
        state: element("span", {class: "lmkit-state", role: "status"}, "pending"),
        device: element("span", {class: "lmkit-device"}),
        bar: element("progress", {max: 1, value: 0, "aria-label": `progress of ${run.name}`}),
        numbers: element("span", {class: "lmkit-numbers"}),
        sample: element("p", {class: "lmkit-sample", hidden: true, "aria-label": `sample of ${run.name}`}),
        pause: button("Pause", "wait after a checkpoint, or go on", () => this.ask(this.waits(run) ? "resume" : "pause", i)),
        stop: button("Stop", "end the run after a checkpoint; everything is kept", () => this.ask("stop", i)),
      }
      const name = element("span", {class: "lmkit-name", title: run.name}, run.name)
      if (this.runs.length > 1) name.style.setProperty("--swatch", run.colour)
      return element("div", {class: this.runs.length > 1 ? "lmkit-run lmkit-several" : "lmkit-run"},
        element("div", {class: "lmkit-title"}, name, run.parts.state, run.parts.device, element("span", {class: "lmkit-actions"}, run.parts.pause, run.parts.stop)),
        run.parts.bar, run.parts.numbers, run.parts.sample)
    })
    return element("div", {class: "lmkit-head"}, ...rows)
  }

  charts() {
    const titles = {loss: "Loss", metric: "Metric", lr: "Learning rate", norm: "Gradient norm"}
    this.divs = {}
    this.titles = {}
    const figures = Object.entries(titles).map(([name, title]) => {
      this.divs[name] = element("div", {class: "lmkit-chart", role: "img", "aria-label": title})
      this.titles[name] = element("figcaption", {}, title)
      return element("figure", {class: `lmkit-figure lmkit-${name}`}, this.titles[name], this.divs[name])
    })
    return element("div", {class: "lmkit-charts"}, this.legend(), ...figures)
  }

  legend() {
    const entry = (text, colour, style) => {
      const key = element("i", {class: `lmkit-key lmkit-${style}`})
      key.style.setProperty("--swatch", colour)
      return element("span", {class: "lmkit-entry"}, key, text)
    }
    const entries = this.runs.length > 1
      ? [entry("training, smoothed", "currentColor", "dotted"), entry("validation", "currentColor", "line")]
      : [entry("each step", this.colours.steps, "faint"), entry("training, smoothed", this.colours.runs[0], "line"),
         entry("validation", this.colours.validation, "line")]
    this.scale = element("button", {type: "button", class: "lmkit-quiet", "aria-pressed": "false", onclick: () => {
      this.log = !this.isLog()
      this.draw()
    }}, "log scale")
    this.reset = element("button", {type: "button", class: "lmkit-quiet", disabled: true, onclick: () => this.zoom(null)}, "whole run")
    return element("div", {class: "lmkit-legend"}, ...entries, element("span", {class: "lmkit-space"}), this.reset, this.scale)
  }

  foot() {
    const choose = element("select", {"aria-label": "run to steer", onchange: (e) => (this.chosen = Number(e.target.value))},
      ...this.runs.map((run, i) => element("option", {value: i}, run.name)))
    const lr = element("input", {type: "number", min: "0", step: "any", "aria-label": "new learning rate", class: "lmkit-rate"})
    const note = element("input", {type: "text", placeholder: "a note for the log", "aria-label": "note", class: "lmkit-note"})
    const form = (submit, ...children) => element("form", {onsubmit: (e) => (e.preventDefault(), submit())}, ...children)
    this.rate = lr
    this.steering = element("fieldset", {class: "lmkit-steer"},
      ...(this.runs.length > 1 ? [choose] : []),
      form(() => lr.value && (this.ask("set_learning_rate", this.chosen, Number(lr.value)), (lr.value = "")),
        element("label", {}, "Learning rate ", lr), element("button", {}, "Set")),
      form(() => note.value && (this.ask("note", this.chosen, note.value), (note.value = "")),
        element("label", {}, "Note ", note), element("button", {}, "Add")),
      element("button", {type: "button", onclick: () => this.ask("checkpoint", this.chosen)}, "Checkpoint now"),
      mirrorForm(this.model.get("trackers"), (to) => {
        this.model.send({type: "mirror", to})
        this.say(`${to} is opened …`)
      }))
    this.said = element("div", {class: "lmkit-said", "aria-live": "polite"})
    return element("div", {class: "lmkit-foot"}, this.steering, this.said)
  }

  // -- talking with the kernel

  ask(verb, run, ...args) {
    this.model.send({type: verb, run, arguments: args})
    const asked = {pause: "asked to pause", resume: "asked to go on", stop: "asked to stop", checkpoint: "asked for a checkpoint",
      note: "note handed over", set_learning_rate: `asked for a learning rate of ${args[0]}`}[verb]
    this.say(`${asked} …`)
  }

  hear(message, buffers) {
    if (message.type === "plotly") return receivePlotly(buffers[0])
    if (message.type === "refused") return this.say(message.text, true)
    if (message.type === "said") return this.say(message.text, message.bad)
    if (message.type === "ended") return void setTimeout(() => replaceOutputs(this.model, this.root, [message.output]), 1000)
    this.heard = Date.now()
    let next = 0
    const values = () => {
      const {buffer, byteOffset, byteLength} = buffers[next++]
      return new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength))
    }
    for (const told of message.runs) {
      const run = this.runs[told.run]
      if (message.type === "detail") {
        run.detail = {...told.steps, rows: null}
        const flat = values()
        run.detail.rows = Array.from({length: ROWS.steps}, (_, i) => flat.subarray(i * told.steps.n, (i + 1) * told.steps.n))
        run.detail.ticket = message.ticket
        continue
      }
      if (told.status) this.status(run, told)
      if (told.sample) this.sample(run, told.sample)
      if (told.steps) run.steps.take(told.steps, values())
      if (told.epochs) run.epochs.take(told.epochs, values())
    }
    this.draw()
  }

  status(run, {status, metric, marks}) {
    const before = run.marks.length
    Object.assign(run, {status, metric, marks: marks.map(([step, type, text]) => ({step, type, text}))})
    if (run.marks.length > before && before + 1 >= run.marks.length) this.say(run.marks.at(-1).text)
    const {state, device, bar, numbers, pause, stop} = run.parts, live = LIVE.includes(status.state)
    state.textContent = status.state
    state.dataset.state = status.state
    device.textContent = status.device ? `on ${status.device}` : ""
    bar.value = status.state === "completed" ? 1 : status.steps ? status.step / status.steps : 0
    if (status.state === "pending") bar.removeAttribute("value")
    pause.textContent = this.waits(run) ? "Resume" : "Pause"
    pause.setAttribute("aria-label", `${pause.textContent} ${run.name}`)
    pause.disabled = status.state === "completed" || status.state === "pending"
    stop.disabled = !live
    this.steering.disabled = !this.runs.some((r) => LIVE.includes(r.status.state))
    // each number has the room that its longest value needs, so that nothing moves
    const words = [
      ["epoch", `${whole(status.epoch)}/${whole(status.epochs)}`, 2 * whole(status.epochs).length + 1],
      ["step", `${whole(status.step)}/${whole(status.steps)}`, 2 * whole(status.steps).length + 1],
      ["steps/s", rate(status.steps_per_second), 6],
      ["samples/s", rate(status.samples_per_second), 7],
      live ? ["left", duration(status.seconds_left), 7] : ["trained", duration(status.seconds), 7],
      ["memory", status.memory ? `${whole(status.memory / 2 ** 20)} MB` : "–", 7],
    ].map(([name, value, room]) => element("span", {class: "lmkit-number", style: `min-width: ${room + name.length + 1}ch`},
      element("b", {}, value), ` ${name}`))
    numbers.replaceChildren(...words)
    if (!live) {
      const scores = Object.entries(status.metrics ?? {}).map(([k, v]) => `${k} ${number(v)}`).join("   ")
      this.say([status.state, status.reason && `(${status.reason})`, scores && `test part: ${scores}`].filter(Boolean).join(" "), status.state === "failed")
    }
  }

  // What a language model wrote last, after the words that it was given.
  sample(run, {step, prompt, text}) {
    run.parts.sample.hidden = false
    run.parts.sample.replaceChildren(element("small", {}, `after step ${whole(step)}`), element("i", {}, prompt), text)
  }

  waits(run) {
    return !["running", "pending", "completed"].includes(run.status.state)
  }

  say(text, bad = false) {
    this.said.textContent = text
    this.said.classList.toggle("lmkit-bad", bad)
  }

  tick() {
    if (!this.plotly) askForPlotly(this.model)
    const silent = (Date.now() - this.heard) / 1000 > SILENCE && this.runs.some((r) => r.status.state === "running")
    if (silent && !this.silent)
      this.say(`No news from the kernel. It may be busy; if it was restarted, the run goes on: lk.attach("${this.runs[0].name}")`, true)
    this.silent = silent
  }

  zoom(range) {
    this.range = range
    this.reset.disabled = !range
    this.ticket = (this.ticket ?? 0) + 1
    for (const run of this.runs) run.detail = null
    if (range) this.model.send({type: "zoom", from: range[0], to: range[1], ticket: this.ticket})
    this.draw()
  }

  // -- drawing

  isLog() {
    if (this.log !== null) return this.log
    const means = this.runs.flatMap((r) => Array.from(r.steps.rows[STEP.mean]).filter((v) => v > 0))
    if (means.length > 8 && Math.max(...means) / Math.min(...means) > 20) this.autoLog = true
    return this.autoLog ?? false
  }

  drawNow() {
    const style = getComputedStyle(this.root)
    this.ink = style.getPropertyValue("--lmkit-ink").trim() || "#333"
    this.rule = style.getPropertyValue("--lmkit-rule").trim() || "#ddd"
    this.paper = style.getPropertyValue("--lmkit-paper").trim() || "#fff"
    const dark = document.body.dataset.jpThemeLight === "false"
    const tinted = (colour) => (dark ? LIGHTER[colour] ?? colour : colour)
    const metric = this.runs.map((r) => r.metric).find(Boolean)
    this.titles.metric.textContent = {accuracy: "Accuracy", r2: "R²", bits_per_byte: "Bits a byte"}[metric] ?? "Metric"
    this.scale.setAttribute("aria-pressed", String(this.isLog()))
    const rates = this.runs[this.chosen].steps.rows[STEP.lr]
    this.rate.placeholder = rates.length ? String(Number(rates.at(-1).toPrecision(3))) : ""
    const several = this.runs.length > 1, traces = {loss: [], metric: [], lr: [], norm: []}
    for (const run of this.runs) {
      const seen = run.detail ?? {start: 0, width: run.steps.width, n: run.steps.n, rows: run.steps.rows}
      const x = middles(seen.start, seen.width, seen.n, run.steps.count - seen.start), row = (name) => seen.rows[STEP[name]]
      const at = Array.from(run.epochs.rows[EPOCH.step]), epoch = (name) => run.epochs.rows[EPOCH[name]]
      const training = tinted(several ? run.colour : this.colours.runs[0]), validation = several ? training : tinted(this.colours.validation)
      const line = (data, name, colour, look = {}) => ({
        ...data, name: several ? `${run.name}, ${name}` : name, mode: data.x.length < 2 ? "markers" : "lines", type: "scatter",
        line: {color: colour, width: 2, ...look}, marker: {color: colour, size: 5}, hovertemplate: "%{y:.4~g}",
      })
      if (!several)
        traces.loss.push({...line(band(x, row("low"), row("high")), "each step", this.colours.steps, {width: 1}), opacity: 0.55, hoverinfo: "skip", hovertemplate: null})
      traces.loss.push(line(smoothed(x, row("mean"), this.isLog()), "training", training, several ? {width: 1.25, dash: "dot"} : {}))
      traces.loss.push(line(band(at, epoch("valLow"), epoch("valHigh")), "validation", validation))
      traces.metric.push(line({x: at, y: Array.from(epoch("metric"))}, "training", training, several ? {width: 1.25, dash: "dot"} : {}))
      traces.metric.push(line(band(at, epoch("valMetricLow"), epoch("valMetricHigh")), "validation", validation))
      traces.lr.push(line({x, y: Array.from(row("lr"))}, "learning rate", several ? training : this.ink, {shape: "hv", width: 1.5}))
      traces.norm.push(line(band(x, row("normLow"), row("normHigh")), "gradient norm", several ? training : this.ink, {width: 1}))
    }
    const last = Math.max(1, ...this.runs.map((r) => r.steps.count)), shown = this.range ?? [0, last * 1.02]
    if (this.range) Object.values(traces).flat().forEach((trace) => cut(trace, shown)) // the height fits what is seen
    for (const [name, div] of Object.entries(this.divs)) this.plot(name, div, traces[name], shown)
  }

  // Ticks of a logarithmic axis: at 1, 2 and 5 of each decade while they fit.
  decades(traces) {
    const values = traces.flatMap((t) => t.y).filter((v) => v > 0)
    const span = Math.log10(Math.max(...values) / Math.min(...values))
    return span < 2.5 ? {dtick: "D2", tickformat: "~g"} : {dtick: Math.ceil(span / 5), tickformat: "~g"}
  }

  plot(name, div, traces, shown) {
    const axis = {color: this.ink, gridcolor: this.rule, linecolor: this.rule, zeroline: false, tickfont: {size: 11}, fixedrange: false, automargin: false}
    const layout = {
      uirevision: "same", showlegend: false, hovermode: "x unified", dragmode: "zoom",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: this.ink, family: "inherit"},
      hoverlabel: {bgcolor: this.paper, bordercolor: this.rule, font: {color: this.ink, size: 11}},
      margin: {l: 52, r: 10, t: 6, b: 30}, width: div.clientWidth, height: div.clientHeight,
      xaxis: {...axis, range: shown, title: {text: "step", font: {size: 11}, standoff: 4}, tickformat: ",~d", nticks: 6},
      yaxis: {...axis, fixedrange: true, type: name === "loss" && this.isLog() ? "log" : "linear", nticks: 6, exponentformat: "power",
        rangemode: name === "lr" || name === "norm" ? "tozero" : "normal", ...(name === "loss" && this.isLog() ? this.decades(traces) : {})},
      shapes: [], annotations: [],
    }
    const marks = this.runs.flatMap((run, i) => run.marks.map((mark) => ({...mark, colour: this.runs.length > 1 ? run.colour : this.colours.mark})))
    for (const mark of marks)
      layout.shapes.push({type: "line", x0: mark.step, x1: mark.step, yref: "paper", y0: 0, y1: 1, line: {color: mark.colour, width: 1, dash: "dot"}})
    if (name === "loss" && marks.length) {
      layout.yaxis2 = {overlaying: "y", range: [0, 1], visible: false, fixedrange: true}
      traces.push({x: marks.map((m) => m.step), y: marks.map(() => 0.97), yaxis: "y2", mode: "markers", type: "scatter", name: "",
        marker: {symbol: "triangle-down", size: 10, color: marks.map((m) => m.colour)}, text: marks.map((m) => m.text), hovertemplate: "%{text}<extra></extra>"})
    }
    const first = !div.data
    this.plotly.react(div, traces, layout, {displayModeBar: false, responsive: false, doubleClick: false})
    if (!first) return
    div.on("plotly_relayout", (changed) => {
      const [from, to] = [changed["xaxis.range[0]"], changed["xaxis.range[1]"]]
      if (from !== undefined) this.zoom([Math.max(0, from), to])
    })
    div.on("plotly_doubleclick", () => this.zoom(null))
  }
}

export default {
  render({model, el}) {
    const view = new View(model, el)
    return () => view.close()
  },
}
