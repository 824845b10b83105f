// What all of lmkit's widgets share in a page; put in front of each one's own script.

const page = (window.__lmkit ??= {}) // what all widgets of this page share

const LIGHTER = {"#0072B2": "#4FA8DC", "#D55E00": "#F08A3C", "#009E73": "#2CC39A"} // of a line on a dark theme

// -- plotly.js, once a page ----------------------------------------------------------------------

page.plotly ??= new Promise((resolve) => (page.arrived = resolve))

async function receivePlotly(buffer) {
  if (page.running) return
  page.running = true
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"))
  const source = await new Response(stream).text()
  const module = {exports: {}}
  new Function("module", "exports", "define", source)(module, module.exports, undefined)
  page.arrived(module.exports.newPlot ? module.exports : window.Plotly)
}

function askForPlotly(model) {
  if (page.running || Date.now() - (page.asked ?? 0) < 20000) return
  page.asked = Date.now()
  model.send({type: "plotly"})
}

// -- small helpers -------------------------------------------------------------------------------

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value)
    else if (value === true) made.setAttribute(name, "")
    else if (value !== false && value != null) made.setAttribute(name, value)
  }
  made.append(...children)
  return made
}

// Of the keys pressed in here the notebook gets those with Ctrl or ⌘ (save, say), but for the ones that edit text.
function passOn(event) {
  event.stopPropagation()
  if (!(event.ctrlKey || event.metaKey) || "acvxz".includes(event.key.toLowerCase())) return
  event.preventDefault()
  event.currentTarget.closest(".jp-Notebook")?.dispatchEvent(new KeyboardEvent("keydown", event))
}

const number = (value, digits = 4) =>
  value == null || !isFinite(value) ? "–" : Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3)
    ? value.toExponential(2) : value.toLocaleString("en", {minimumSignificantDigits: digits, maximumSignificantDigits: digits, useGrouping: false})
const whole = (value) => (value == null ? "–" : Math.round(value).toLocaleString("en"))
const rate = (value) => (value == null ? "–" : value >= 100 ? whole(value) : number(value, 3))
function duration(seconds) {
  if (seconds == null) return "–"
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`
}

// What is shown is told to a tracker that a team has already.
function mirrorForm(trackers, ask) {
  const to = element("select", {"aria-label": "tracker"}, ...trackers.map((name) => element("option", {}, name)))
  return element("form", {class: "lmkit-mirror", onsubmit: (e) => (e.preventDefault(), ask(to.value))},
    element("label", {}, "Mirror to ", to), element("button", {title: "Tell it what there is, and what comes; the folder stays the truth"}, "Mirror"))
}

// -- live tables ---------------------------------------------------------------------------------

// Puts the static outputs in the place of a widget in the notebook itself. The kernel does so by the outputs' display ids, but
// JupyterLab forgets those when the page is loaded again: then we look for our own outputs.
function replaceOutputs(model, root, outputs) {
  const cells = root.isConnected ? model.widget_manager?.context?.model?.cells : null, id = model.get("view_id")
  for (const cell of cells ?? []) {
    for (let i = 0; i < (cell.outputs?.length ?? 0); i++) {
      if (cell.outputs.get(i).data?.["application/vnd.jupyter.widget-view+json"]?.model_id !== id) continue
      const own = (k) => k === i || (k < cell.outputs.length && cell.outputs.get(k).metadata?.lmkit === id)
      outputs.forEach((output, n) => own(i + n) && cell.outputs.set(i + n, {output_type: "display_data", ...output}))
    }
  }
}

// Cells in order: numbers as numbers, texts as texts; what has no value stands last, whichever way.
function cellOrder(x, y, down) {
  if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1)
  const order = x.value !== undefined && y.value !== undefined ? x.value - y.value : x.text.localeCompare(y.text, "en", {numeric: true})
  return down ? -order : order
}

// The head of a table that is sorted by a click, the other way by a second, and in its first order by a third.
function sortableHead(row, columns, sort, choose) {
  const focused = [...row.children].findIndex((th) => th.contains(document.activeElement))
  row.replaceChildren(...columns.map((title, i) => {
    const own = sort.column === i, mark = own ? (sort.down ? "▾" : "▴") : ""
    const next = () => choose(!own ? {column: i, down: false} : sort.down ? {column: -1, down: false} : {column: i, down: true})
    return element("th", {scope: "col", "aria-sort": own ? (sort.down ? "descending" : "ascending") : "none", class: i ? "" : "lmkit-first"},
      element("button", {type: "button", title: `sort by ${title}`, onclick: next}, title, element("i", {}, mark)))
  }))
  if (focused >= 0) row.children[focused]?.querySelector("button").focus()
}

// -- a view of a widget ---------------------------------------------------------------------------

// Hears the kernel, and draws what it shows while it is seen: anew when the page's theme or its own size changes. A view of its own
// gives hear(message, buffers), tick() each second, drawNow(), and resized() where its size is more than its charts' affair.
class PageView {
  constructor(model) {
    this.model = model
  }

  // Begins, once `root` is in the page; charts are drawn while `watched` is on the screen.
  connect(watched) {
    this.model.on("msg:custom", (this.onMessage = (message, buffers) => this.hear(message, buffers)))
    this.watching = new IntersectionObserver((seen) => {
      this.visible = seen.some((s) => s.isIntersecting)
      if (this.visible) this.draw()
    })
    this.watching.observe(watched)
    this.themes = new MutationObserver(() => this.draw())
    this.themes.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"]})
    this.sizes = new ResizeObserver(() => {
      this.resized()
      this.draw()
    })
    this.sizes.observe(this.root)
    this.clock = setInterval(() => this.tick(), 1000)
    page.plotly.then((plotly) => ((this.plotly = plotly), this.draw()))
    askForPlotly(this.model)
    this.model.send({type: "hello"})
  }

  close() {
    clearInterval(this.clock)
    this.model.off("msg:custom", this.onMessage)
    for (const observer of [this.watching, this.themes, this.sizes]) observer.disconnect()
    for (const div of this.root.querySelectorAll(".js-plotly-plot")) this.plotly.purge(div)
  }

  resized() {}

  draw() {
    if (!this.plotly || !this.visible || this.due) return
    this.due = requestAnimationFrame(() => {
      this.due = null
      if (this.root.isConnected && this.root.clientWidth) this.drawNow()
    })
  }
}
