// The view of a monitor: draws the data of the kernel, sends the commands of the user.
//
// Kernel → page: {type: "update", runs: [{run, status?, metric?, marks?, sample?, findings?, steps?, epochs?}], reset} with a float32
// buffer for each `steps` and `epochs`; "detail" {runs: [{run, steps, epochs}], ticket} likewise, the answer to a "zoom" with its ticket;
// "plotly" with the gzipped plotly.js; "message" with a text; "ended" with the outputs that replace
// the widget; "form" with an output to add, a text, and the command that does the same in a cell; "tests" {run, text, is_running}.
// Page → kernel: "ready" (send everything), "plotly", "zoom", "mirror", "apply" {run, check}, "test" {run}, and the commands of a run.

// Rows of the buffers, in the order of STEP_LINES and EPOCH_LINES of lmkit.runfolder.live.
const STEP = {low: 0, high: 1, mean: 2, lr: 3, normLow: 4, normHigh: 5}
const EPOCH = {step: 0, loss: 1, valLow: 2, valHigh: 3, metric: 4, valMetricLow: 5, valMetricHigh: 6, epoch: 7, seconds: 8}
const ROWS = {steps: 6, epochs: 9}
const LIVE = ["pending", "running", "paused", "restarting"]
const TIMEOUT = 15 // seconds without an update until a warning
const SMOOTHING = 0.5 // position of the slider at first, from 0 to 1: an average over a 25th of the visible steps
const FACTOR = 10 // a learning rate above this multiple of the current one is confirmed

// -- the data of a run ---------------------------------------------------------------------------

class Series {
  constructor(rows) {
    Object.assign(this, {rows: Array.from({length: rows}, () => new Float32Array(0)), width: 1, count: 0, n: 0})
  }

  update({first, width, n, count}, values) {
    const rows = this.rows.map((row, i) => {
      const next = new Float32Array(first + n)
      next.set(row.subarray(0, first))
      next.set(values.subarray(i * n, (i + 1) * n), first)
      return next
    })
    Object.assign(this, {rows, width, count, n: first + n})
  }
}

// The centre of each bucket of consecutive steps, counted from 1.
const middles = (start, width, n, count) =>
  Array.from({length: n}, (_, i) => start + i * width + (Math.min(width, count - i * width) + 1) / 2)

// A band of minimum and maximum values as one line through both.
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

// Cuts a line to the points between two steps, with one more point at each end.
function cut(trace, [from, to]) {
  const inside = (i) => trace.x[i] >= from && trace.x[i] <= to
  const indices = trace.x.map((_, i) => i).filter((i) => inside(i) || inside(i - 1) || inside(i + 1))
  trace.x = indices.map((i) => trace.x[i])
  trace.y = indices.map((i) => trace.y[i])
}

// The piecewise linear function through increasing points, from (0, 0) on, continued beyond the last.
function through(xs, ys) {
  const at = [0], to = [0]
  xs.forEach((x, i) => x > at.at(-1) && ys[i] > to.at(-1) && (at.push(x), to.push(ys[i])))
  return (x) => {
    if (at.length < 2) return NaN
    let low = 0, high = at.length - 1
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if (at[middle] <= x) low = middle
      else high = middle
    }
    return to[low] + (x - at[low]) * (to[low + 1] - to[low]) / (at[low + 1] - at[low])
  }
}

// The exponential moving average of the losses, or of their logarithms on a log scale; `strength` from 0 (none) to 1.
function smoothed(x, values, log, strength) {
  const span = strength ? Math.max(3, 0.16 * strength ** 2 * values.length) : 1, share = 2 / (span + 1), ys = []
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
    this.selected = 0
    this.log = null // null: automatic
    this.range = null // on the x axis
    this.unit = "step" // of the x axis
    this.receivedAt = Date.now()
    this.root = element("div", {class: "lmkit-monitor", role: "group", "aria-label": "training monitor",
      "data-lm-suppress-shortcuts": "true", onkeydown: forwardShortcuts}) // Enter and Space press our buttons, not the shortcuts of the notebook
    this.root.append(this.head(), this.charts(), this.foot())
    el.append(this.root)
    this.connect(this.root)
  }

  // -- its parts

  head() {
    const rows = this.runs.map((run, i) => {
      const button = (label, title, onclick) =>
        element("button", {type: "button", title, "aria-label": `${label} ${run.name}`, onclick: onclick}, label)
      run.parts = {
        state: element("span", {class: "lmkit-state", role: "status"}, "pending"),
        device: element("span", {class: "lmkit-device"}),
        bar: element("progress", {max: 1, value: 0, "aria-label": `progress of ${run.name}`}),
        numbers: element("span", {class: "lmkit-numbers"}),
        reason: element("div", {class: "lmkit-reason", hidden: true}),
        doctor: element("details", {class: "lmkit-doctor", hidden: true}),
        sample: element("p", {class: "lmkit-sample", hidden: true, "aria-label": `sample of ${run.name}`}),
        pause: button("Pause", "Pause after a checkpoint, or resume", () => this.command(this.isResumable(run) ? "resume" : "pause", i)),
        stop: button("Stop", "Stop after a checkpoint; all results are kept", () => this.command("stop", i)),
      }
      const name = element("span", {class: "lmkit-name", title: run.name}, run.name)
      if (this.runs.length > 1) name.style.setProperty("--swatch", run.colour)
      return element("div", {class: this.runs.length > 1 ? "lmkit-run lmkit-several" : "lmkit-run"},
        element("div", {class: "lmkit-title"}, name, run.parts.state, run.parts.device, element("span", {class: "lmkit-actions"}, run.parts.pause, run.parts.stop)),
        run.parts.bar, run.parts.numbers, run.parts.reason, run.parts.doctor, run.parts.sample)
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
      ? [entry("training (smoothed)", "currentColor", "dotted"), entry("validation", "currentColor", "line")]
      : [entry("per step", this.colours.steps, "faint"), entry("training (smoothed)", this.colours.runs[0], "line"),
         entry("validation", this.colours.validation, "line")]
    this.scale = element("button", {type: "button", class: "lmkit-quiet", "aria-pressed": "false", onclick: () => {
      this.log = !this.isLog()
      this.draw()
    }}, "Log scale")
    this.reset = element("button", {type: "button", class: "lmkit-quiet", disabled: true, onclick: () => this.zoom(null)}, "Reset zoom")
    this.smoothing = element("input", {type: "range", min: 0, max: 1, step: 0.05, value: SMOOTHING, oninput: () => this.draw(),
      ondblclick: () => ((this.smoothing.value = SMOOTHING), this.draw()), title: "Smoothing of the training loss; double-click to reset"})
    const axis = element("select", {onchange: () => ((this.unit = axis.value), this.zoom(null))}, ...["step", "epoch", "time"].map((unit) => element("option", {}, unit)))
    return element("div", {class: "lmkit-legend"}, ...entries, element("span", {class: "lmkit-space"}),
      element("label", {class: "lmkit-option"}, "Smoothing ", this.smoothing), element("label", {class: "lmkit-option"}, "x axis ", axis), this.reset, this.scale)
  }

  foot() {
    const select = element("select", {"aria-label": "run to control", onchange: (e) => (this.selected = Number(e.target.value))},
      ...this.runs.map((run, i) => element("option", {value: i}, run.name)))
    const lr = element("input", {type: "number", min: "0", step: "any", "aria-label": "new learning rate", class: "lmkit-rate"})
    const note = element("input", {type: "text", placeholder: "Add a note", "aria-label": "note", class: "lmkit-note"})
    const form = (submit, ...children) => element("form", {onsubmit: (e) => (e.preventDefault(), submit())}, ...children)
    this.rate = lr
    this.controls = element("fieldset", {class: "lmkit-controls"},
      ...(this.runs.length > 1 ? [select] : []),
      form(() => lr.value && this.setRate(Number(lr.value)),
        element("label", {}, "Learning rate ", lr), element("button", {}, "Set")),
      form(() => note.value && (this.command("note", this.selected, note.value), (note.value = "")),
        element("label", {}, "Note ", note), element("button", {}, "Add")),
      element("button", {type: "button", onclick: () => this.command("checkpoint", this.selected)}, "Checkpoint now"),
      element("button", {type: "button", title: "Copy the functions and data that the run names into its folder, which can then be copied alone",
        onclick: () => this.command("pack", this.selected)}, "Pack"),
      trackerForm(this.model.get("trackers"), (to) => {
        if (this.send({type: "mirror", to})) this.showMessage(`Starting ${to}…`)
      }))
    this.message = element("div", {class: "lmkit-message", "aria-live": "polite"})
    return element("div", {class: "lmkit-foot"}, this.controls, this.message)
  }

  // -- messages to and from the kernel

  // A rate of another order of magnitude is applied when it is entered twice: it is more often a slip than meant.
  setRate(value) {
    const current = Number(this.rate.placeholder)
    if (!(value > 0)) return this.showMessage("A learning rate is greater than 0.", true)
    if (current && value > FACTOR * current && this.confirmed !== value) {
      this.confirmed = value
      return this.showMessage(`${value} is ${rate(value / current)} times the current rate; click Set again to apply it.`, true)
    }
    this.command("set_learning_rate", this.selected, value)
    this.rate.value = ""
  }

  command(verb, run, ...args) {
    if (!this.send({type: verb, run, arguments: args})) return
    this.showMessage({pause: "Pausing after the next checkpoint…", resume: "Resuming…", stop: "Stopping…", checkpoint: "Saving a checkpoint…",
      note: "Saving note…", pack: "Packing…", trust: "", set_learning_rate: `Setting the learning rate to ${args[0]}…`}[verb])
  }

  receive(message, buffers) {
    if (message.type === "plotly") return receivePlotly(buffers[0])
    if (message.type === "message") {
      this.showMessage(message.text, message.is_error)
      if (message.trust !== undefined)
        this.message.append(" ", element("button", {type: "button", onclick: () => this.command("trust", message.trust)}, "Trust this run"))
      return
    }
    if (message.type === "ended") return void setTimeout(() => replaceOutputs(this.model, this.root, message.outputs), 1000)
    if (message.type === "form") return this.showForm(message)
    if (message.type === "tests") return this.showTests(this.runs[message.run], message)
    if (message.type === "detail" && (!this.range || message.ticket !== this.ticket)) return // the answer to an earlier zoom, or to another view
    this.receivedAt = Date.now()
    let next = 0
    const values = () => {
      const {buffer, byteOffset, byteLength} = buffers[next++]
      return new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength))
    }
    for (const update of message.runs) {
      const run = this.runs[update.run]
      if (message.type === "detail") {
        const rows = (name) => {
          const flat = values(), n = update[name].n
          return Array.from({length: ROWS[name]}, (_, i) => flat.subarray(i * n, (i + 1) * n))
        }
        run.detail = {...update.steps, rows: rows("steps"), epochs: rows("epochs")}
        continue
      }
      if (update.status) this.showStatus(run, update)
      if (update.sample) this.showSample(run, update.sample)
      if (update.findings) this.showFindings(run, update)
      if (update.steps) run.steps.update(update.steps, values())
      if (update.epochs) run.epochs.update(update.epochs, values())
    }
    this.draw()
  }

  showStatus(run, {status, metric, marks}) {
    const before = run.marks.length
    Object.assign(run, {status, metric, marks: marks.map(([step, type, text]) => ({step, type, text}))})
    if (run.marks.length > before && before + 1 >= run.marks.length) this.showMessage(run.marks.at(-1).text)
    const {state, device, bar, numbers, pause, stop} = run.parts, live = LIVE.includes(status.state)
    state.textContent = status.state
    state.dataset.state = status.state
    device.textContent = status.device ? `on ${status.device}` : ""
    bar.value = status.state === "completed" ? 1 : status.steps ? status.step / status.steps : 0
    if (status.state === "pending") bar.removeAttribute("value")
    pause.textContent = this.isResumable(run) ? "Resume" : "Pause"
    pause.setAttribute("aria-label", `${pause.textContent} ${run.name}`)
    pause.disabled = status.state === "completed" || status.state === "pending"
    stop.disabled = !live
    this.controls.disabled = !this.runs.some((r) => LIVE.includes(r.status.state))
    // each number has the width of its longest value, so that the layout is stable
    const total = (value) => 2 * integer(value).length + 3
    const progress = (value, count) => (count ? `${integer(value)} of ${integer(count)}` : value ? integer(value) : "–")
    const texts = [
      ["epoch", progress(status.epoch, status.epochs), "", total(status.epochs)],
      ["step", progress(status.step, status.steps), "", total(status.steps)],
      ["", rate(status.steps_per_second), "steps/s", 5],
      ["", rate(status.samples_per_second), "samples/s", 6],
      live ? ["", duration(status.seconds_left), "remaining", 8] : ["training time", duration(status.seconds), "", 8],
      ["memory", status.memory ? `${integer(status.memory / 2 ** 20)} MB` : "–", "", 7],
      ...(status.device_memory ? [["GPU memory", `${integer(status.device_memory / 2 ** 20)} MB`, "", 7]] : []),
      ...(status.utilization != null ? [["GPU", `${integer(100 * status.utilization)} %`, "", 5]] : []),
      ...(status.power != null ? [["", integer(status.power), "W", 4]] : []),
    ]
    numbers.replaceChildren(...texts.map(([before, value, after, width]) =>
      element("span", {class: "lmkit-number", style: `min-width: ${width + 0.9 * (before.length + after.length) + 0.5}ch`},
        before && `${before} `, element("b", {}, value), after && ` ${after}`)))
    run.parts.reason.hidden = (live && status.state !== "restarting") || !status.reason
    run.parts.reason.textContent = status.reason ?? ""
    run.parts.reason.classList.toggle("lmkit-bad", ["failed", "lost"].includes(status.state))
    if (!live) {
      const scores = Object.entries(status.metrics ?? {}).map(([k, v]) => `${k} ${number(v)}`).join("   ")
      this.showMessage(scores && `test: ${scores}`)
    }
  }

  // The last sample of a language model, after its prompt.
  showSample(run, {step, prompt, text}) {
    run.parts.sample.hidden = false
    run.parts.sample.replaceChildren(element("small", {}, `after step ${integer(step)}`), element("i", {}, prompt), text)
  }

  // What the doctor says: the strongest finding and how many there are, unfolded to their evidence and what to change.
  showFindings(run, {run: index, findings}) {
    const text = JSON.stringify(findings), {doctor} = run.parts
    if (text === run.findings) return // a button that is about to be pressed stays
    run.findings = text
    doctor.hidden = !findings.length
    if (!findings.length) return doctor.replaceChildren()
    const badge = ({confidence}) => element("b", {class: "lmkit-confidence", "data-confidence": confidence}, confidence)
    const count = findings.length > 1 ? `${findings.length} findings` : "1 finding"
    const summary = element("summary", {title: "What the doctor says about this run so far"}, badge(findings[0]),
      element("span", {class: "lmkit-finding"}, findings[0].what), element("span", {class: "lmkit-count"}, count))
    const parts = findings.map((finding, i) => element("div", {class: "lmkit-evidence", "data-confidence": finding.confidence},
      ...(i ? [element("div", {class: "lmkit-what"}, badge(finding), " ", finding.what)] : []),
      element("dl", {}, ...finding.details.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
      ...(finding.curves ? [this.drawing(finding.curves)] : []),
      ...(finding.apply ? [element("button", {type: "button", "aria-label": `${this.model.get("apply_label")}: ${finding.check}`,
        onclick: () => this.send({type: "apply", run: index, check: finding.check})}, this.model.get("apply_label"))] : [])))
    run.parts.test = element("button", {type: "button", onclick: () => this.send({type: "test", run: index})})
    run.parts.testing = element("small", {role: "status"})
    doctor.replaceChildren(summary, ...parts, element("div", {class: "lmkit-evidence"}, run.parts.test, " ", run.parts.testing))
    this.showTests(run, run.tests ?? {text: "", is_running: false})
  }

  // A drawing of the kernel, in which texts are escaped.
  drawing(markup) {
    const node = element("div", {class: "lmkit-drawing"})
    node.innerHTML = markup
    return node
  }

  // What the tests of a run are doing; the button beside it starts or cancels them.
  showTests(run, tests) {
    run.tests = tests
    if (!run.parts.test) return
    const [start, cancel] = this.model.get("test_labels"), label = tests.is_running ? cancel : start
    run.parts.test.textContent = label
    run.parts.test.setAttribute("aria-label", `${label}: ${run.name}`)
    run.parts.testing.textContent = tests.text
  }

  showForm({output, text, command}) {
    this.showMessage(addOutput(this.model, this.root, output) ? text : `Run in a cell: ${command}`)
  }

  isResumable(run) {
    return !["running", "pending", "restarting", "completed"].includes(run.status.state)
  }

  showMessage(text, isError = false) {
    this.message.textContent = text
    this.message.classList.toggle("lmkit-bad", isError)
  }

  tick() {
    if (!this.plotly) requestPlotly(this.model)
    const timedOut = (Date.now() - this.receivedAt) / 1000 > TIMEOUT && this.runs.some((r) => r.status.state === "running")
    if (timedOut && !this.timedOut) {
      this.showMessage(`No updates from the kernel. It may be busy. ${this.disconnected()}`, true)
      for (const run of this.runs) if (LIVE.includes(run.status.state)) Object.assign(run.parts.state, {textContent: "no updates"}).dataset.state = ""
    }
    this.timedOut = timedOut
  }

  disconnected() {
    return `If you restarted it, training continues; reconnect with lk.attach("${this.runs[0].name}")`
  }

  zoom(range) {
    this.range = range
    this.reset.disabled = !range
    this.ticket = crypto.getRandomValues(new Uint32Array(1))[0] // unique among all views of the widget
    for (const run of this.runs) run.detail = null
    const steps = range && this.runs.map((run) => range.map(this.axis(run).inverse)).filter((ends) => ends.every(Number.isFinite))
    if (steps?.length) this.send({type: "zoom", from: Math.min(...steps.map(([from]) => from)), to: Math.max(...steps.map(([, to]) => to)), ticket: this.ticket})
    this.draw()
  }

  // -- drawing

  // Where a step of a run lies on the x axis, and the inverse. Within an epoch, steps take the same time.
  axis({epochs, status}) {
    if (this.unit === "step") return {position: (step) => step, inverse: (x) => x}
    const row = (name) => Array.from(epochs.rows[EPOCH[name]]), byTime = this.unit === "time"
    const steps = [...row("step"), byTime ? status.step : status.steps], values = [...row(byTime ? "seconds" : "epoch"), byTime ? status.seconds : status.epochs]
    const scaled = values.map((value) => value / (byTime ? this.seconds() : 1))
    return {position: through(steps, scaled), inverse: through(scaled, steps)}
  }

  // The unit of the time axis in seconds: by the longest run.
  seconds() {
    const longest = Math.max(...this.runs.map((r) => r.status.seconds ?? 0))
    return longest > 3 * 3600 ? 3600 : longest > 180 ? 60 : 1
  }

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
    const adjusted = (colour) => (dark ? LIGHTER[colour] ?? colour : colour)
    const metric = this.runs.map((r) => r.metric).find(Boolean)
    this.titles.metric.textContent = {accuracy: "Accuracy", r2: "R²", bits_per_byte: "Bits per byte"}[metric] ?? "Metric"
    this.scale.setAttribute("aria-pressed", String(this.isLog()))
    const rates = this.runs[this.selected].steps.rows[STEP.lr]
    this.rate.placeholder = rates.length ? String(Number(rates.at(-1).toPrecision(3))) : ""
    const several = this.runs.length > 1, traces = {loss: [], metric: [], lr: [], norm: []}
    for (const run of this.runs) {
      const data = run.detail ?? {start: 0, width: run.steps.width, n: run.steps.n, rows: run.steps.rows}
      const {position} = this.axis(run), x = middles(data.start, data.width, data.n, run.steps.count - data.start).map(position), row = (name) => data.rows[STEP[name]]
      const epochs = run.detail?.epochs ?? run.epochs.rows, at = Array.from(epochs[EPOCH.step], position), epoch = (name) => epochs[EPOCH[name]]
      const training = adjusted(several ? run.colour : this.colours.runs[0]), validation = several ? training : adjusted(this.colours.validation)
      const line = (data, name, colour, style = {}) => ({
        ...data, name: several ? `${withoutMarkup(run.name)}, ${name}` : name, mode: data.x.length < 2 ? "markers" : "lines", type: "scatter",
        line: {color: colour, width: 2, ...style}, marker: {color: colour, size: 5}, hovertemplate: "%{y:.4~g}",
      })
      if (!several)
        traces.loss.push({...line(band(x, row("low"), row("high")), "per step", this.colours.steps, {width: 1}), opacity: 0.55, hoverinfo: "skip", hovertemplate: null})
      traces.loss.push(line(smoothed(x, row("mean"), this.isLog(), Number(this.smoothing.value)), "training", training, several ? {width: 1.25, dash: "dot"} : {}))
      traces.loss.push(line(band(at, epoch("valLow"), epoch("valHigh")), "validation", validation))
      traces.metric.push(line({x: at, y: Array.from(epoch("metric"))}, "training", training, several ? {width: 1.25, dash: "dot"} : {}))
      traces.metric.push(line(band(at, epoch("valMetricLow"), epoch("valMetricHigh")), "validation", validation))
      traces.lr.push(line({x, y: Array.from(row("lr"))}, "learning rate", several ? training : this.ink, {shape: "hv", width: 1.5}))
      traces.norm.push(line(band(x, row("normLow"), row("normHigh")), "gradient norm", several ? training : this.ink, {width: 1}))
    }
    const ends = this.runs.map((r) => this.axis(r).position(r.steps.count)).filter(Number.isFinite)
    const last = Math.max(this.unit === "step" ? 1 : 1e-3, ...ends), shown = this.range ?? [0, last * 1.02]
    if (this.range) Object.values(traces).flat().forEach((trace) => cut(trace, shown)) // the y axis fits the visible part
    for (const [name, div] of Object.entries(this.divs)) this.plot(name, div, traces[name], shown)
  }

  // Ticks of a logarithmic axis, at 1, 2 and 5 of each decade while they fit.
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
      xaxis: {...axis, range: shown, title: {text: {step: "step", epoch: "epoch", time: `training time (${{1: "s", 60: "min", 3600: "h"}[this.seconds()]})`}[this.unit], font: {size: 11}, standoff: 4},
        tickformat: this.unit === "step" ? ",~d" : ",~g", nticks: 6},
      yaxis: {...axis, fixedrange: true, type: name === "loss" && this.isLog() ? "log" : "linear", nticks: 6, exponentformat: "power",
        rangemode: name === "lr" || name === "norm" ? "tozero" : "normal", ...(name === "loss" && this.isLog() ? this.decades(traces) : {})},
      shapes: [], annotations: [],
    }
    const hasPoints = traces.some((trace) => trace.x.length) // a mark alone has no scale to lie on
    const marks = !hasPoints ? [] : this.runs.flatMap((run) => run.marks.map((mark) => ({...mark, at: this.axis(run).position(mark.step), colour: this.runs.length > 1 ? run.colour : this.colours.mark})))
    for (const mark of marks)
      layout.shapes.push({type: "line", x0: mark.at, x1: mark.at, yref: "paper", y0: 0, y1: 1, line: {color: mark.colour, width: 1, dash: "dot"}})
    if (name === "loss" && marks.length) {
      layout.yaxis2 = {overlaying: "y", range: [0, 1], visible: false, fixedrange: true}
      traces.push({x: marks.map((m) => m.at), y: marks.map(() => 0.97), yaxis: "y2", mode: "markers", type: "scatter", name: "",
        marker: {symbol: "triangle-down", size: 10, color: marks.map((m) => m.colour)}, text: marks.map((m) => withoutMarkup(m.text)), hovertemplate: "%{text}<extra></extra>"})
    }
    if (!hasPoints) {
      layout.xaxis.visible = layout.yaxis.visible = false
      const text = this.runs.some((r) => r.status.state === "pending") ? "Starting the worker…" : "Waiting for the first step…"
      if (name === "loss") layout.annotations.push({text, showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5, font: {size: 13}})
    }
    const first = !div.data
    this.plotly.react(div, traces, layout, {displayModeBar: false, responsive: false, doubleClick: false})
    if (!first) return
    div.on("plotly_relayout", (changed) => {
      const [from, to] = [changed["xaxis.range[0]"], changed["xaxis.range[1]"]]
      if (from !== undefined) this.zoom([Math.max(0, from), to])
    })
    div.on("plotly_doubleclick", () => this.zoom(null))
    // one cursor over all charts; a hover without an event of the mouse emits no further one
    const others = () => Object.values(this.divs).filter((other) => other !== div && other.data)
    div.on("plotly_hover", ({xvals}) => others().forEach((other) => this.plotly.Fx.hover(other, {xval: xvals[0]}, ["xy"])))
    div.on("plotly_unhover", () => others().forEach((other) => this.plotly.Fx.unhover(other)))
  }
}

export default {
  render({model, el}) {
    const view = new View(model, el)
    return () => view.close()
  },
}
