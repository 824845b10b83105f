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
