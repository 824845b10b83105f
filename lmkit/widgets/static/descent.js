// The player of gradient descent. It computes everything in the page (surfaces.js), so that it works without a kernel.
//
// Model → page: "settings" {surfaces, optimizers, constants, state}, set once; "view_id".

const DARK = {"#0072B2": "#4FA8DC", "#D55E00": "#F08A3C", "#009E73": "#2CC39A", "#CC79A7": "#E3A1C5", "#E69F00": "#F2B84B"}
const LEVELS = 16 // contour lines
const GRID = 260, DATA_GRID = 90 // points per side at which J is computed; in between it is interpolated
const RATES = [1e-4, 10] // the range of the slider of α, unless the surface needs more
const FLOOR = 1e-15 // the lowest J that is drawn
const SPEEDS = [2, 10, 30, 100, 500] // steps per second

const text = (value) => String(Number(Number(value).toPrecision(6)))
const label = (value) => text(value).replace("-", "−")
const sameArray = (a, b) => a.length === b.length && a.every((v, i) => v === b[i])

// -- a canvas in CSS pixels ----------------------------------------------------------------------

function fit(canvas) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio)
    canvas.height = Math.round(height * ratio)
  }
  const c = canvas.getContext("2d")
  c.setTransform(ratio, 0, 0, ratio, 0, 0)
  c.clearRect(0, 0, width, height)
  c.font = "11px system-ui, sans-serif"
  c.lineJoin = c.lineCap = "round"
  return {c, width, height, ratio}
}

// Values at 1, 2 or 5 times a power of ten, at most `count` of them.
function ticks([low, high], count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw))
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= raw)
  const values = []
  for (let k = Math.ceil(low / step); k * step <= high + 1e-9 * step; k++) values.push(k * step)
  return values.map((v) => Number(v.toPrecision(10)))
}

const superscript = (n) => String(n).replace(/./g, (s) => ({"-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹"})[s])

function arrow(c, [x0, y0], [x1, y1], dashed) {
  const length = Math.hypot(x1 - x0, y1 - y0)
  if (!(length > 2) || !isFinite(length)) return
  const shown = Math.min(length, 4000), ux = (x1 - x0) / length, uy = (y1 - y0) / length, head = Math.min(9, 0.6 * shown)
  const ex = x0 + ux * shown, ey = y0 + uy * shown
  c.setLineDash(dashed ? [4, 3] : [])
  c.beginPath()
  c.moveTo(x0, y0)
  c.lineTo(ex, ey)
  c.stroke()
  c.setLineDash([])
  c.beginPath()
  c.moveTo(ex, ey)
  c.lineTo(ex - head * (ux + 0.5 * uy), ey - head * (uy - 0.5 * ux))
  c.lineTo(ex - head * (ux - 0.5 * uy), ey - head * (uy + 0.5 * ux))
  c.closePath()
  c.fill()
}

function polyline(c, points) {
  c.beginPath()
  points.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)))
  c.stroke()
}

// -- the player ----------------------------------------------------------------------------------

class Player {
  constructor(model, el) {
    this.model = model
    Object.assign(this, model.get("settings"))
    this.state = {...this.state, optimizers: [...this.state.optimizers]}
    this.removed = new Set()
    this.root = element("div", {class: "lmkit-live lmkit-descent", role: "group", "aria-label": "gradient descent",
      "data-lm-suppress-shortcuts": "true", onkeydown: (event) => (this.key(event), forwardShortcuts(event))})
    this.root.append(this.head(), this.stage(), this.transport(), this.sliders(), this.table(), this.foot())
    el.append(this.root)
    this.sizes = new ResizeObserver(() => this.redraw())
    this.sizes.observe(this.root)
    this.ignoreTheme = watchTheme(this.root, () => this.redraw())
    this.select(this.state.surface, false)
  }

  close() {
    this.pause()
    cancelAnimationFrame(this.due)
    this.sizes.disconnect()
    this.ignoreTheme()
    this.outputs?.disconnect()
  }

  // -- its parts

  head() {
    this.chips = this.surfaces.map((s) =>
      element("button", {type: "button", class: "lmkit-chip", "aria-pressed": "false", onclick: () => this.select(s.name)}, s.title))
    this.lesson = element("p", {class: "lmkit-lesson"})
    return element("div", {}, element("div", {class: "lmkit-chips", role: "group", "aria-label": "surface"}, ...this.chips), this.lesson)
  }

  stage() {
    const canvas = (label, handlers) => element("canvas", {tabindex: 0, role: "img", "aria-label": label, ...handlers})
    this.map = canvas("map of J with the paths; click or drag to move the start", {
      onpointerdown: (e) => (this.map.setPointerCapture(e.pointerId), (this.dragging = true), this.moveStart(e)),
      onpointermove: (e) => this.dragging && this.moveStart(e), onpointerup: () => (this.dragging = false),
    })
    const scrub = (e) => (this.pause(), this.goTo(this.stepAt(e)))
    this.curve = canvas("J over the steps, logarithmic; click or drag to move the cursor", {
      onpointerdown: (e) => (this.curve.setPointerCapture(e.pointerId), (this.scrubbing = true), scrub(e)),
      onpointermove: (e) => this.scrubbing && scrub(e), onpointerup: () => (this.scrubbing = false),
    })
    this.scatter = canvas("rows and lines; click a row to remove it or put it back", {onclick: (e) => this.toggleRow(e)})
    const figure = (name, title, node) => element("figure", {class: `lmkit-figure lmkit-${name}`}, element("figcaption", {}, title), node)
    const legend = element("small", {}, "→ −α∇J   ⇢ velocity")
    this.data = figure("scatter", "Data and lines", this.scatter)
    return element("div", {class: "lmkit-stage"}, figure("map", element("span", {}, "Loss J ", legend), this.map),
      element("div", {class: "lmkit-side"}, figure("curve", "J per step (log scale)", this.curve), this.data))
  }

  transport() {
    const button = (label, title, onclick) => element("button", {type: "button", title, "aria-label": title, onclick}, label)
    this.playButton = button("Play", "play", () => (this.timer ? this.pause() : this.play()))
    this.scrubber = element("input", {type: "range", min: 0, step: 1, "aria-label": "step", oninput: (e) => (this.pause(), this.goTo(Number(e.target.value)))})
    this.position = element("output", {class: "lmkit-position"})
    this.speed = element("select", {"aria-label": "speed"}, ...SPEEDS.map((v) => element("option", {value: v, selected: v === 30}, `${v} steps/s`)))
    const move = (by) => (this.pause(), this.goTo(this.t + by))
    return element("div", {class: "lmkit-transport"}, button("Reset", "reset to step 0", () => (this.pause(), this.goTo(0))),
      button("Back", "one step back", () => move(-1)), this.playButton, button("Step", "one step forward", () => move(1)),
      this.scrubber, this.position, this.speed)
  }

  sliders() {
    this.inputs = {}
    const control = (name, label, help, options) => {
      const range = element("input", {type: "range", "aria-label": label, ...options.range, oninput: (e) => this.set(name, options.from(Number(e.target.value)))})
      const field = element("input", {type: "number", "aria-label": `${label}, as a number`, step: "any", ...options.field,
        onchange: (e) => this.enter(name, e.target.value, options.valid)})
      const marks = element("div", {class: "lmkit-marks"})
      const node = element("div", {class: `lmkit-slider lmkit-${name}`, title: help}, element("span", {}, label), element("div", {class: "lmkit-track"}, range, marks), field)
      this.inputs[name] = {range, field, marks, node, to: options.to}
      return node
    }
    const linear = (min, max, step) => ({range: {min, max, step}, from: (v) => v, to: (v) => v, valid: (v) => v >= min && v <= max})
    const logarithmic = (limits) => ({
      range: {min: 0, max: 1, step: 0.001}, valid: (v) => v > 0 && isFinite(v),
      from: (p) => Number((limits()[0] * (limits()[1] / limits()[0]) ** p).toPrecision(3)),
      to: (v) => Math.log(v / limits()[0]) / Math.log(limits()[1] / limits()[0]),
    })
    const conditions = this.constants.conditions
    return element("div", {class: "lmkit-sliders"},
      control("lr", "learning rate α", "the length of a step is α times the gradient", logarithmic(() => this.rates())),
      control("momentum", "momentum β", "the share of the last step that is kept: μ of SGD, β₁ of Adam", linear(0, 0.99, 0.01)),
      control("condition", "condition κ", "how many times as steep the steepest direction is", {...logarithmic(() => conditions),
        valid: (v) => v >= conditions[0] && v <= conditions[1]}),
      control("batch", "rows per step", "rows of which a step computes the gradient", linear(1, 1, 1)),
      control("noise", "gradient noise", "standard deviation of noise on the gradient, as of small batches", linear(0, 2, 0.05)))
  }

  table() {
    this.rows = this.optimizers.map(({name, title, colour}) => {
      const box = element("input", {type: "checkbox", "aria-label": title, onchange: () => this.toggleOptimizer(name)})
      const cells = ["lmkit-value", "lmkit-value", "lmkit-value", "lmkit-end"].map((style) => element("td", {class: style}))
      const row = element("tr", {"data-name": name}, element("th", {scope: "row"}, element("label", {}, box, element("i", {class: "lmkit-swatch"}), title)), ...cells)
      return {name, title, colour, box, cells, row}
    })
    const head = ["optimizer", "step", "J", "‖∇J‖", "stopping rule"].map((t) => element("th", {scope: "col"}, t))
    return element("table", {class: "lmkit-optimizers"}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...this.rows.map((r) => r.row)))
  }

  foot() {
    this.message = element("p", {class: "lmkit-message", "aria-live": "polite"})
    this.code = element("code", {})
    return element("div", {class: "lmkit-foot"}, this.message, element("pre", {}, this.code))
  }

  // -- settings

  select(name, reset = true) {
    this.pause()
    this.surfaceData = this.surfaces.find((s) => s.name === name)
    const s = this.surfaceData
    this.removed.clear()
    if (reset)
      Object.assign(this.state, {surface: name, lr: s.lr, start: [...s.start], steps: s.steps, noise: 0, batch: 0, condition: s.condition})
    this.chips.forEach((chip, i) => chip.setAttribute("aria-pressed", String(this.surfaces[i].name === name)))
    this.lesson.textContent = s.lesson
    this.data.hidden = !s.rows
    this.inputs.condition.node.hidden = s.condition == null
    this.inputs.batch.node.hidden = !s.rows
    this.inputs.noise.node.hidden = Boolean(s.rows)
    this.inputs.batch.range.max = s.rows
    this.build()
  }

  set(name, value) {
    this.state[name] = value
    if (name === "condition") this.build()
    else this.compute()
  }

  enter(name, value, valid) {
    const entered = value.trim() === "" ? NaN : Number(value)
    if (valid(entered)) return this.set(name, entered)
    this.say(`${name === "lr" ? "α" : name}: ${value || "nothing"} is not in its range.`, true)
    showControls(this)
  }

  toggleOptimizer(name) {
    const on = this.state.optimizers
    this.state.optimizers = this.optimizers.map((o) => o.name).filter((n) => (n === name ? !on.includes(n) : on.includes(n)))
    this.compute()
  }

  toggleRow(event) {
    const {x, y} = this.scales.scatter, box = this.scatter.getBoundingClientRect()
    const distances = this.surfaceData.residuals.map(({terms: [[a], , [b]]}) => Math.hypot(x(a) - (event.clientX - box.left), y(-b) - (event.clientY - box.top)))
    const nearest = distances.indexOf(Math.min(...distances))
    if (distances[nearest] > 14) return
    const removed = new Set(this.removed)
    if (!removed.delete(nearest)) removed.add(nearest)
    const before = this.removed
    this.removed = removed
    this.build()
    if (this.surface.minimum) return this.say(removed.has(nearest) ? "Row removed; click it again to put it back." : "Row put back.")
    this.removed = before
    this.build()
    this.say("The row stays: the remaining rows would not determine a line.", true)
  }

  moveStart(event) {
    const {fromX, fromY} = this.scales.map, box = this.map.getBoundingClientRect(), [wx, wy] = this.surface.window
    const clamp = (v, [low, high]) => Number(Math.min(high, Math.max(low, v)).toPrecision(4))
    const inside = ([low, high], v) => Math.min(high, Math.max(low, v))
    this.state.start = [inside(wx, clamp(fromX(event.clientX - box.left), wx)), inside(wy, clamp(fromY(event.clientY - box.top), wy))]
    this.compute()
  }

  // -- computing

  build() {
    const rows = this.surfaceData.residuals?.map((_, i) => i).filter((i) => !this.removed.has(i))
    this.surface = makeSurface(this.surfaceData, {condition: this.state.condition ?? this.surfaceData.condition, rows})
    this.picture = null
    this.compute()
  }

  rates() {
    const stable = this.surface?.largestCurvature ? 2 / this.surface.largestCurvature : 1
    return [Math.min(RATES[0], 0.01 * stable, this.state.lr), Math.max(RATES[1], this.state.lr)]
  }

  // Computes all paths; the cursor stays where it is while playing, and otherwise shows them whole.
  compute() {
    const settings = {...this.state, batch: this.state.batch || 0}
    this.paths = new Map(this.state.optimizers.map((name) => [name, descend(this.surface, name, settings, this.constants)]))
    this.length = Math.max(1, ...[...this.paths.values()].map((p) => p.points.length - 1))
    this.t = this.timer ? Math.min(this.t, this.length) : this.length
    this.say("")
    showControls(this)
    this.redraw()
  }

  // -- playing

  play() {
    if (this.t >= this.length) this.t = 0
    let last = performance.now(), exact = this.t
    const frame = (now) => {
      exact += (Math.min(now - last, 200) / 1000) * Number(this.speed.value)
      last = now
      this.goTo(Math.floor(exact))
      if (this.t >= this.length) this.pause()
      else if (this.timer) this.timer = requestAnimationFrame(frame)
    }
    this.timer = requestAnimationFrame(frame)
    this.showPlaying()
  }

  pause() {
    cancelAnimationFrame(this.timer)
    this.timer = null
    if (this.playButton) this.showPlaying()
  }

  showPlaying() {
    this.playButton.textContent = this.timer ? "Pause" : "Play"
    this.playButton.setAttribute("aria-label", this.timer ? "pause" : "play")
  }

  goTo(t) {
    this.t = Math.min(this.length, Math.max(0, t))
    this.redraw()
  }

  key(event) {
    if (["INPUT", "SELECT", "BUTTON"].includes(event.target.tagName)) return
    const actions = {ArrowRight: () => (this.pause(), this.goTo(this.t + 1)), ArrowLeft: () => (this.pause(), this.goTo(this.t - 1)),
      " ": () => (this.timer ? this.pause() : this.play()), Home: () => (this.pause(), this.goTo(0)), End: () => (this.pause(), this.goTo(this.length))}
    if (!actions[event.key]) return
    event.preventDefault()
    actions[event.key]()
  }

  say(message, bad = false) {
    this.message.textContent = message
    this.message.classList.toggle("lmkit-bad", bad)
  }

  redraw() {
    this.due ??= requestAnimationFrame(() => {
      this.due = null
      if (this.root.isConnected && this.root.clientWidth) drawPlayer(this)
    })
  }
}

const player = {
  render({model, el}) {
    const view = new Player(model, el)
    return () => view.close()
  },
}

export default player
