// The view of a live comparison: a table, a chart, a recommendation, further techniques, bundles.
//
// Updates also have {chart?, advice?}. Further messages to the kernel: "cancel", "resume", "constraint" {text}, "add" {names},
// "bundle" {name, out}.

const GLYPHS = {circle: "●", square: "■", diamond: "◆", "triangle-up": "▲", "triangle-down": "▼", pentagon: "⬟"}
const NARROW = 560 // pixels; in a narrower table the remark of a row has its own line
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`

class View extends LiveView {
  constructor(model, el) {
    super(model, el, "comparison", {state: "running", done: 0, total: 0, activity: "", seconds_left: null, has_controls: true})
  }

  init() {
    this.advice = {constraint: this.model.get("examples")[0], name: "", text: ""}
    this.hidden = {group: new Set(), state: new Set(), run: new Set()}
  }

  parts() {
    return [this.head(), this.ship(), this.filters(), this.table("variants"), this.chartParts(), this.foot()]
  }

  resized() {
    super.resized()
    const narrow = this.wide.clientWidth < NARROW
    if (narrow !== this.narrow) this.fill()
    this.narrow = narrow
  }

  // -- its parts

  head() {
    this.cancel = this.button("Cancel", "Stop the measurements; finished variants are kept", () => {
      this.send({type: "cancel"})
      this.cancel.disabled = true
      this.showMessage("Cancelling. The measurement in progress is finished first.")
    })
    this.resume = this.button("Resume", "Measure the cancelled variants", () => this.send({type: "resume"}))
    return this.header(this.cancel, this.resume)
  }

  ship() {
    this.constraint = element("input", {type: "text", class: "lmkit-constraint", "aria-label": "what to ship", spellcheck: "false",
      oninput: () => this.sendConstraint(), value: this.advice.constraint})
    const examples = this.model.get("examples").map((text) =>
      element("button", {type: "button", class: "lmkit-chip", onclick: () => ((this.constraint.value = text), this.sendConstraint())}, text))
    this.reason = element("div", {class: "lmkit-reason", "aria-live": "polite"})
    return element("div", {class: "lmkit-ship"}, element("label", {}, element("b", {}, "Ship the "), this.constraint),
      element("span", {class: "lmkit-chips"}, ...examples), this.reason)
  }

  chartParts() {
    this.legend = element("div", {class: "lmkit-legend"})
    this.chartDiv = element("div", {class: "lmkit-chart", role: "img", "aria-label": "latency and quality of the variants"})
    return (this.figures = element("figure", {class: "lmkit-figure"}, element("figcaption", {}, "Latency and quality",
      element("small", {}, "area: size on disk · bars: 95 % intervals · dashed: Pareto front")), this.legend, this.chartDiv))
  }

  foot() {
    const form = (submit, ...children) => element("form", {onsubmit: (e) => (e.preventDefault(), submit())}, ...children)
    this.out = element("input", {type: "text", value: "bundle", "aria-label": "folder of the bundle", spellcheck: "false"})
    this.which = element("b", {})
    this.bundle = form(() => this.send({type: "bundle", name: this.selected, out: this.out.value}),
      element("span", {}, "Bundle of ", this.which), element("label", {}, " into the folder ", this.out), element("button", {}, "Write"))
    this.bundle.classList.add("lmkit-bundle")
    this.boxes = element("div", {class: "lmkit-boxes"})
    this.other = element("input", {type: "text", placeholder: "e.g. prune-50+onnx", "aria-label": "another technique", spellcheck: "false"})
    this.more = element("details", {class: "lmkit-more"}, element("summary", {}, "Measure further techniques"),
      form(() => this.add(), this.boxes, element("label", {}, "combined techniques ", this.other), " ", element("button", {}, "Measure")))
    return element("div", {class: "lmkit-foot"}, this.bundle, this.more, this.message)
  }

  // -- messages to and from the kernel

  update({chart, advice}) {
    if (chart !== undefined) this.chart = chart
    if (advice) this.showAdvice(advice)
  }

  sendConstraint() {
    clearTimeout(this.constraintTimer)
    this.constraintTimer = setTimeout(() => this.send({type: "constraint", text: this.constraint.value}), 200)
  }

  add() {
    const names = [...this.boxes.querySelectorAll("input:checked")].map((box) => box.value)
    names.push(...this.other.value.split(/[\s,]+/).filter(Boolean))
    if (!names.length) return this.showMessage("Select the techniques to measure.", true)
    this.showMessage("")
    this.other.value = ""
    this.send({type: "add", names})
  }

  // -- status

  showStatus() {
    const {state, done, total, error, has_controls: hasControls} = this.status, running = state === "running"
    this.cancel.hidden = !running
    if (!running) this.cancel.disabled = false
    this.resume.hidden = !hasControls || state !== "cancelled" && state !== "failed"
    this.more.hidden = !hasControls
    this.showProgress(`${done} of ${plural(total, "variant")}`, this.short(this.status.activity), this.remaining(), error)
    this.activity.classList.toggle("lmkit-bad", Boolean(error))
    if (document.activeElement !== this.constraint) this.constraint.value = this.advice.constraint
  }

  // The activity, with the variant's label instead of its name.
  short(activity) {
    const row = this.rows.find((r) => activity.endsWith(` ${r.name}`))
    return row ? activity.replace(row.name, row.label) : activity
  }

  showAdvice(advice) {
    this.advice = advice
    this.reason.replaceChildren(advice.text || "Available once the baseline is measured")
    this.reason.classList.toggle("lmkit-bad", advice.is_error)
    for (const chip of this.root.querySelectorAll(".lmkit-ship .lmkit-chip"))
      chip.setAttribute("aria-pressed", String(chip.textContent === advice.constraint))
    if (advice.name && (!this.selected || !this.userSelected)) this.selected = advice.name
  }

  select(name) {
    if (!name || getSelection().toString()) return
    this.selected = name
    this.userSelected = true
    this.fill()
  }

  // -- the table

  fill() {
    this.fillChips()
    this.fillBoxes()
    const spans = this.rows.flatMap((r) => r.cells.flatMap((c) => (c?.span ? [...c.span, ...c.band] : [])))
    this.scale = [Math.log(Math.min(0.5, ...spans)), Math.log(Math.max(2, ...spans))]
    this.fillRows((r) => !this.hidden.group.has(r.group) && !this.hidden.state.has(this.stateOf(r)) && !this.hidden.run.has(r.run),
      (r) => [r.name, r.group, r.state, r.reason, r.remark, ...r.flags], (a, b) => this.compare(a, b))
    const selected = this.rows.find((r) => r.name === this.selected && r.state === "measured")
    this.bundle.hidden = !selected
    this.which.textContent = selected ? selected.label : ""
  }

  stateOf(row) {
    return row.state === "measured" && row.flags.length ? "flagged" : row.state
  }

  compare(a, b) {
    const {column, down} = this.sort
    return cellOrder(...[a, b].map((r) => (r.state === "measured" || column === 0 ? r.cells[column] : null)), down)
  }

  lines(row) {
    const best = row.name === this.advice.name, active = this.status.state === "running" && this.status.activity.endsWith(` ${row.name}`)
    const attributes = {"data-name": row.name, "data-state": this.stateOf(row), class: [best && "lmkit-best", row.name === this.selected && "lmkit-selected", active && "lmkit-active"]
      .filter(Boolean).join(" ")}
    const name = element("td", {class: "lmkit-first"}, element("span", {class: "lmkit-technique"}, row.label),
      best ? element("span", {class: "lmkit-badge"}, "ship this") : "", element("small", {}, row.group))
    const remark = row.flags.length ? element("ul", {}, ...row.flags.map((f) => element("li", {}, f))) : row.remark
    const line = (...cells) => element("tr", {...attributes, tabindex: "0", "aria-selected": String(row.name === this.selected)}, ...cells)
    if (row.state !== "measured") {
      const text = active ? this.status.activity.slice(0, -row.name.length).trim() + "…" : [row.state, row.reason].filter(Boolean).join(": ")
      if (this.wide.clientWidth >= NARROW)
        return [line(name, element("td", {class: "lmkit-instead", colspan: this.columns.length - 1}, element("div", {}, text)))]
      return this.remarked(line(name, element("td", {colspan: this.columns.length - 1})), attributes, text)
    }
    const first = line(name, ...row.cells.slice(1).map((cell) => this.cell(cell)))
    return row.flags.length || row.remark ? this.remarked(first, attributes, remark) : [first]
  }

  // A row with its remark on a second line.
  remarked(first, attributes, remark) {
    const second = element("tr", {...attributes, class: `${attributes.class} lmkit-remark`},
      element("td", {class: "lmkit-instead", colspan: this.columns.length}, element("div", {}, remark)))
    first.classList.add("lmkit-remarked")
    return [first, second]
  }

  cell(cell) {
    if (!cell) return element("td", {class: "lmkit-none"}, "–")
    if (!cell.span) return element("td", {class: cell.value === undefined ? "" : "lmkit-value"}, cell.text)
    const [from, to] = this.scale, at = (value) => 100 * (Math.log(Math.max(value, 1e-9)) - from) / (to - from)
    const piece = (kind, low, high) => element("i", {class: `lmkit-${kind}`, style: `left: ${at(low)}%; width: ${Math.max(0, at(high) - at(low))}%`})
    const picture = element("span", {class: "lmkit-interval", title: `${cell.text}; the baseline against itself: ${cell.band.map((v) => v.toFixed(2)).join(" to ")}`},
      piece("band", ...cell.band), piece("one", 1, 1), piece("span", ...cell.span), piece("dot", cell.value, cell.value))
    return element("td", {class: "lmkit-value lmkit-ratio"}, picture, cell.text)
  }

  fillChips() {
    const kinds = {group: (r) => r.group, state: (r) => this.stateOf(r), run: (r) => r.run}, chips = []
    const filters = Object.entries(kinds).map(([kind, of]) => [kind, [...new Set(this.rows.map(of))].sort()])
    const key = JSON.stringify([filters, Object.values(this.hidden).map((s) => [...s])])
    if (key === this.chipKey) return
    this.chipKey = key
    for (const [kind, values] of filters) {
      if (values.length < 2) continue
      chips.push(element("span", {class: "lmkit-kind"}, kind), ...values.map((value) => this.chip(this.hidden[kind], value)))
    }
    this.chips.replaceChildren(...chips)
  }

  fillBoxes() {
    const measured = new Set(this.rows.map((r) => r.technique)), free = this.model.get("techniques").filter((t) => !measured.has(t.name))
    const key = free.map((t) => t.name).join()
    if (key === this.boxKey) return
    this.boxKey = key
    const groups = [...new Set(free.map((t) => t.group))]
    this.boxes.replaceChildren(...groups.map((group) => element("fieldset", {}, element("legend", {}, group),
      ...free.filter((t) => t.group === group).map((t) =>
        element("label", {}, element("input", {type: "checkbox", value: t.name}), element("span", {}, element("b", {}, t.name), ` ${t.help}`))))))
    if (!free.length) this.boxes.replaceChildren("All techniques are in the table")
  }

  // -- the chart

  drawNow() {
    const {ink, rule, paper, dark} = this.theme(), adjusted = (colour) => (dark ? LIGHTER[colour] ?? colour : colour)
    const panel = this.chart ?? {series: [], x_title: "", y_title: "", log_x: true}
    const byLabel = new Map(this.rows.map((r) => [r.label, r]))
    const isLabelled = (label) => byLabel.get(label)?.name === this.advice.name || byLabel.get(label)?.group === "baseline"
    const traces = panel.series.map((s) => {
      const colour = adjusted(s.colour), common = {name: withoutMarkup(s.name), x: s.x, y: s.y, type: "scatter"}
      if (s.style !== "points")
        return {...common, mode: "lines", hoverinfo: "skip", line: {color: colour, width: 1.5, dash: s.style === "line" ? "solid" : "dash"}}
      const bars = (spans, values) => (spans?.length ? {type: "data", symmetric: false, array: spans.map((p, i) => p[1] - values[i]),
        arrayminus: spans.map((p, i) => values[i] - p[0]), thickness: 1.5, width: 3, color: colour} : undefined)
      return {...common, mode: "markers+text", text: s.labels.map((l, i) => (s.labelled[i] || isLabelled(l) ? withoutMarkup(l) : "")), customdata: s.labels, hovertext: s.labels.map(withoutMarkup), textposition: "top center",
        textfont: {size: 11, color: ink}, cliponaxis: false, error_x: bars(s.spans, s.x), error_y: bars(s.y_spans, s.y),
        marker: {color: colour, opacity: 0.65, symbol: s.symbols.length ? s.symbols : "circle", size: s.sizes.length ? s.sizes : 8, line: {width: 1.5, color: s.labels.map((l) => (byLabel.get(l)?.name === this.advice.name ? ink : colour))}},
        hovertemplate: `<b>%{hovertext}</b><br>%{x:.4~g} · ${panel.y_title} %{y:.4~g}<extra></extra>`}
    })
    this.legend.replaceChildren(...panel.series.filter((s) => s.style === "points").map((s) => {
      if (!s.x.length) return element("span", {class: "lmkit-entry"}, `${GLYPHS[s.symbols[0]] ?? ""} ${s.name}`) // the symbol of a run
      const key = element("i", {class: "lmkit-key"})
      key.style.background = adjusted(s.colour)
      return element("span", {class: "lmkit-entry"}, key, s.name)
    }))
    const axis = {color: ink, gridcolor: rule, linecolor: rule, showline: true, zeroline: false, tickfont: {size: 11}, automargin: true}
    const layout = {
      uirevision: "same", showlegend: false, hovermode: "closest", dragmode: "pan", paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: {color: ink, family: "inherit"}, hoverlabel: {bgcolor: paper, bordercolor: rule, font: {color: ink, size: 12}},
      margin: {l: 56, r: 28, t: 22, b: 40}, width: this.chartDiv.clientWidth, height: this.chartDiv.clientHeight,
      xaxis: {...axis, type: panel.log_x ? "log" : "linear", title: {text: panel.x_title, font: {size: 12}, standoff: 6}, ...(panel.log_x ? {dtick: "D2", tickformat: "~g"} : {})},
      yaxis: {...axis, type: panel.log ? "log" : "linear", title: {text: panel.y_title, font: {size: 12}, standoff: 6}, nticks: 6},
    }
    if (!panel.series.some((s) => s.x.length)) {
      layout.xaxis.visible = layout.yaxis.visible = false
      layout.annotations = [{text: "Available once a variant is measured", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5}]
    }
    // values that differ by rounding alone are drawn at one height
    const ys = panel.series.flatMap((s) => s.y).filter(Number.isFinite), middle = (Math.max(...ys) + Math.min(...ys)) / 2, least = 0.005 * Math.max(1e-3, Math.abs(middle))
    if (ys.length && !panel.log && Math.max(...ys) - Math.min(...ys) < least) layout.yaxis.range = [middle - least, middle + least]
    const first = !this.chartDiv.data
    this.plotly.react(this.chartDiv, traces, layout, {displayModeBar: false, responsive: false})
    if (first) this.chartDiv.on("plotly_click", ({points}) => this.select(nameOf(this, points[0]?.customdata)))
  }
}

const nameOf = (view, label) => view.rows.find((r) => r.label === label)?.name

export default {
  render({model, el}) {
    const view = new View(model, el)
    return () => view.close()
  },
}
