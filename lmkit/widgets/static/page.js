// Shared by all lmkit widgets of a page; prepended to the script of each widget.

const page = (window.__lmkit ??= {}) // the state shared by the widgets of the page

const LIGHTER = {"#0072B2": "#4FA8DC", "#D55E00": "#F08A3C", "#009E73": "#2CC39A"} // line colours on a dark theme

// -- plotly.js, loaded once per page -------------------------------------------------------------

page.plotly ??= new Promise((resolve) => (page.resolvePlotly = resolve))

async function receivePlotly(buffer) {
  if (page.loadingPlotly) return
  page.loadingPlotly = true
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"))
  const source = await new Response(stream).text()
  const module = {exports: {}}
  new Function("module", "exports", "define", source)(module, module.exports, undefined)
  page.resolvePlotly(module.exports.newPlot ? module.exports : window.Plotly)
}

function requestPlotly(model) {
  if (page.loadingPlotly || Date.now() - (page.requestedAt ?? 0) < 20000) return
  page.requestedAt = Date.now()
  model.send({type: "plotly"})
}

// -- small helpers -------------------------------------------------------------------------------

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value)
    else if (value === true) node.setAttribute(name, "")
    else if (value !== false && value != null) node.setAttribute(name, value)
  }
  node.append(...children)
  return node
}

// Keyboard shortcuts with Ctrl or ⌘ are passed on to the notebook, except the text editing ones; other keys stay here.
function forwardShortcuts(event) {
  event.stopPropagation()
  if (!(event.ctrlKey || event.metaKey) || "acvxz".includes(event.key.toLowerCase())) return
  event.preventDefault()
  event.currentTarget.closest(".jp-Notebook")?.dispatchEvent(new KeyboardEvent("keydown", event))
}

// A text that plotly shows as it is; it reads <b>, <a href=…> and the like in every text.
const withoutMarkup = (text) => String(text).replace(/[&<>]/g, (letter) => ({"&": "&amp;", "<": "&lt;", ">": "&gt;"})[letter])

const number = (value, digits = 4) =>
  value == null || !isFinite(value) ? "–" : Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3)
    ? value.toExponential(2) : value.toLocaleString("en", {minimumSignificantDigits: digits, maximumSignificantDigits: digits, useGrouping: false})
const integer = (value) => (value == null ? "–" : Math.round(value).toLocaleString("en"))
const rate = (value) => (value == null ? "–" : value >= 100 ? integer(value) : number(value, 3))
function duration(seconds) {
  if (seconds == null) return "–"
  if (seconds < 59.5) return `${seconds < 9.95 ? seconds.toFixed(1) : Math.round(seconds)} s` // rounded before the unit is chosen
  const minutes = Math.round(seconds / 60)
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`
}

// A form that starts logging to a tracker.
function trackerForm(trackers, start) {
  const to = element("select", {"aria-label": "tracker"}, ...trackers.map((name) => element("option", {}, name)))
  return element("form", {class: "lmkit-tracker", onsubmit: (e) => (e.preventDefault(), start(to.value))},
    element("label", {}, "Also log to ", to), element("button", {title: "Sends past and future values; the run folder remains the source of truth"}, "Start logging"))
}

// -- live tables ---------------------------------------------------------------------------------

// Replaces a widget with the static outputs in the notebook document. The kernel does it by display id, but JupyterLab loses the
// ids when the page is reloaded; then the outputs are found by their metadata.
function replaceOutputs(model, root, outputs) {
  const cells = root.isConnected ? model.widget_manager?.context?.model?.cells : null, id = model.get("view_id")
  for (const cell of cells ?? []) {
    for (let i = 0; i < (cell.outputs?.length ?? 0); i++) {
      if (cell.outputs.get(i).data?.["application/vnd.jupyter.widget-view+json"]?.model_id !== id) continue
      const isOurs = (k) => k === i || (k < cell.outputs.length && cell.outputs.get(k).metadata?.lmkit === id)
      outputs.forEach((output, n) => isOurs(i + n) && cell.outputs.set(i + n, {output_type: "display_data", ...output}))
    }
  }
}

// Adds an output to the cell of a widget, in place of the one that was added before; false without such a cell.
function addOutput(model, root, {data, metadata}) {
  const cells = root.isConnected ? model.widget_manager?.context?.model?.cells : null, id = model.get("view_id")
  const output = {output_type: "display_data", data, metadata: {...metadata, lmkit_added: id}}
  for (const {outputs} of cells ?? []) {
    const all = Array.from({length: outputs?.length ?? 0}, (_, i) => outputs.get(i))
    if (!all.some(({data}) => data?.["application/vnd.jupyter.widget-view+json"]?.model_id === id)) continue
    const position = all.findIndex(({metadata}) => metadata?.lmkit_added === id)
    if (position < 0) outputs.add(output)
    else outputs.set(position, output)
    return true
  }
  return false
}

// Compares cells: numbers by value, others as text; empty cells are last in both directions.
function cellOrder(x, y, down) {
  if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1)
  const order = x.value !== undefined && y.value !== undefined ? x.value - y.value : x.text.localeCompare(y.text, "en", {numeric: true})
  return down ? -order : order
}

// A table head whose columns sort on a click: ascending, then descending, then in the original order.
function sortableHead(row, columns, sort, setSort) {
  const focused = [...row.children].findIndex((th) => th.contains(document.activeElement))
  row.replaceChildren(...columns.map((title, i) => {
    const active = sort.column === i, mark = active ? (sort.down ? "▾" : "▴") : ""
    const next = () => setSort(!active ? {column: i, down: false} : sort.down ? {column: -1, down: false} : {column: i, down: true})
    return element("th", {scope: "col", "aria-sort": active ? (sort.down ? "descending" : "ascending") : "none", class: i ? "" : "lmkit-first"},
      element("button", {type: "button", title: `sort by ${title}`, onclick: next}, title, element("i", {}, mark)))
  }))
  if (focused >= 0) row.children[focused]?.querySelector("button").focus()
}

// -- themes --------------------------------------------------------------------------------------

// Calls `redraw` when the theme of the page changes; its style sheet may arrive long after its attributes. Returns a function that stops.
function watchTheme(root, redraw) {
  const read = () => {
    const style = getComputedStyle(root)
    return [document.body.dataset.jpThemeLight, ...["ink", "rule", "paper"].map((name) => style.getPropertyValue(`--lmkit-${name}`))].join()
  }
  let last = read()
  const check = () => {
    if (root.clientWidth && last !== (last = read())) redraw() // JupyterLab hides the notebook while it changes its theme
  }
  const observer = new MutationObserver(check), timer = setInterval(check, 500)
  observer.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"]})
  return () => (observer.disconnect(), clearInterval(timer))
}

// -- a view of a widget ---------------------------------------------------------------------------

// Receives messages of the kernel and draws while visible, again on a change of theme or size. A subclass implements
// receive(message, buffers), tick() every second, drawNow(), and optionally resized().
class PageView {
  constructor(model) {
    this.model = model
  }

  // Starts once `root` is in the page; charts are drawn while `target` is visible.
  connect(target) {
    this.model.on("msg:custom", (this.onMessage = (message, buffers) => this.receive(message, buffers)))
    this.watching = new IntersectionObserver((entries) => {
      this.visible = entries.some((s) => s.isIntersecting)
      if (this.visible) this.draw()
    })
    this.watching.observe(target)
    this.ignoreTheme = watchTheme(this.root, () => this.draw())
    this.sizes = new ResizeObserver(() => {
      this.resized()
      this.draw()
    })
    this.sizes.observe(this.root)
    this.clock = setInterval(() => {
      this.tick()
      if (this.missed) this.draw()
    }, 1000)
    page.plotly.then((plotly) => ((this.plotly = plotly), this.draw()))
    requestPlotly(this.model)
    this.model.send({type: "ready"})
  }

  close() {
    clearInterval(this.clock)
    this.model.off("msg:custom", this.onMessage)
    this.ignoreTheme()
    for (const observer of [this.watching, this.sizes]) observer.disconnect()
    for (const div of this.root.querySelectorAll(".js-plotly-plot")) this.plotly.purge(div)
  }

  resized() {}

  // Sends a message to the kernel; false if the page has lost it, which it says.
  send(message) {
    try {
      this.model.send(message)
      return true
    } catch {
      this.showMessage(`The kernel of this widget has ended. ${this.disconnected()}`, true)
      return false
    }
  }

  disconnected() {
    return "Run the cell again."
  }

  draw() {
    if (!this.plotly || !this.visible || this.due) return
    this.due = requestAnimationFrame(() => {
      this.due = null
      this.missed = !(this.root.isConnected && this.root.clientWidth)
      if (!this.missed) this.drawNow()
    })
  }
}
