// The page's side of a live comparison: a table and a chart that fill, what to ship of it, further techniques, bundles.
//
// Beside the rows the news hold {chart?, advice?}. It also asks: "cancel", "resume", "constraint" {text}, "add" {names},
// "bundle" {name, out}.

const GLYPHS = {circle: "●", square: "■", diamond: "◆", "triangle-up": "▲", "triangle-down": "▼", pentagon: "⬟"}
const NARROW = 560 // pixels; in a narrower table what is said of a row has a line of its own
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`

class View extends LiveView {
  constructor(model, el) {
    super(model, el, "comparison", {state: "running", done: 0, total: 0, doing: "", left: null, steered: true})
  }

  begin() {
    this.advice = {constraint: this.model.get("examples")[0], name: "", text: ""}
    this.off = {group: new Set(), state: new Set(), run: new Set()}
  }

  parts() {
    return [this.head(), this.ship(), this.filters(), this.tableParts("variants"), this.chartParts(), this.foot()]
  }

  resized() {
    super.resized()
    const narrow = this.wide.clientWidth < NARROW
    if (narrow !== this.narrow) this.fill()
    this.narrow = narrow
  }

  // -- its parts

  head() {
    this.cancel = this.button("Cancel", "End the measuring now; finished variants are kept", () => {
      this.model.send({type: "cancel"})
      this.say("asked to end …")
    })
    this.resume = this.button("Resume", "Measure what was cancelled", () => this.model.send({type: "resume"}))
    return this.header(this.cancel, this.resume)
  }

  ship() {
    this.constraint = element("input", {type: "text", class: "lmkit-constraint", "aria-label": "what to ship", spellcheck: "false",
      oninput: () => this.ask(), value: this.advice.constraint})
    const examples = this.model.get("examples").map((text) =>
      element("button", {type: "button", class: "lmkit-chip", onclick: () => ((this.constraint.value = text), this.ask())}, text))
    this.reason = element("div", {class: "lmkit-reason", "aria-live": "polite"})
    return element("div", {class: "lmkit-ship"}, element("label", {}, element("b", {}, "Ship the "), this.constraint),
      element("span", {class: "lmkit-chips"}, ...examples), this.reason)
  }

  chartParts() {
    this.legend = element("div", {class: "lmkit-legend"})
    this.chartDiv = element("div", {class: "lmkit-chart", role: "img", "aria-label": "latency and quality of the variants"})
    return (this.pictures = element("figure", {class: "lmkit-figure"}, element("figcaption", {}, "Latency and quality",
      element("small", {}, "area: size on disk · bars: 95 % intervals · dashed: what no other variant beats")), this.legend, this.chartDiv))
  }

  foot() {
    const form = (submit, ...children) => element("form", {onsubmit: (e) => (e.preventDefault(), submit())}, ...children)
    this.out = element("input", {type: "text", value: "bundle", "aria-label": "folder of the bundle", spellcheck: "false"})
    this.which = element("b", {})
    this.bundle = form(() => this.model.send({type: "bundle", name: this.chosen, out: this.out.value}),
      element("span", {}, "Bundle of ", this.which), element("label", {}, " into the folder ", this.out), element("button", {}, "Write"))
    this.bundle.classList.add("lmkit-bundle")
    this.boxes = element("div", {class: "lmkit-boxes"})
    this.other = element("input", {type: "text", placeholder: "such as prune-50+onnx", "aria-label": "another technique", spellcheck: "false"})
    this.more = element("details", {class: "lmkit-more"}, element("summary", {}, "Measure further techniques"),
      form(() => this.add(), this.boxes, element("label", {}, "one after another ", this.other), " ", element("button", {}, "Measure")))
    return element("div", {class: "lmkit-foot"}, this.bundle, this.more, this.said)
  }

  // -- talking with the kernel

  take({chart, advice}) {
    if (chart !== undefined) this.chart = chart
    if (advice) this.advise(advice)
  }

  ask() {
    clearTimeout(this.asking)
    this.asking = setTimeout(() => this.model.send({type: "constraint", text: this.constraint.value}), 200)
  }

  add() {
    const names = [...this.boxes.querySelectorAll("input:checked")].map((box) => box.value)
    names.push(...this.other.value.split(/[\s,]+/).filter(Boolean))
    if (!names.length) return this.say("tick the techniques to measure", true)
    this.say("")
    this.other.value = ""
    this.model.send({type: "add", names})
  }

  // -- how it goes

  steer() {
    const {state, done, total, error, steered} = this.status, running = state === "running"
    this.cancel.hidden = !running
    this.resume.hidden = !steered || state !== "cancelled" && state !== "failed"
    this.more.hidden = !steered
    this.progress(`${done} of ${plural(total, "variant")}`, this.short(this.status.doing), this.left(), error)
    this.doing.classList.toggle("lmkit-bad", Boolean(error))
    if (document.activeElement !== this.constraint) this.constraint.value = this.advice.constraint
  }

  // What is being done, to a variant by its label.
  short(doing) {
    const row = this.rows.find((r) => doing.endsWith(` ${r.name}`))
    return row ? doing.replace(row.name, row.label) : doing
  }

  advise(advice) {
    this.advice = advice
    this.reason.replaceChildren(advice.text || "as soon as the baseline is measured")
    this.reason.classList.toggle("lmkit-bad", advice.bad)
    for (const chip of this.root.querySelectorAll(".lmkit-ship .lmkit-chip"))
      chip.setAttribute("aria-pressed", String(chip.textContent === advice.constraint))
    if (advice.name && (!this.chosen || !this.chose)) this.chosen = advice.name
  }

  choose(name) {
    if (!name || getSelection().toString()) return
    this.chosen = name
    this.chose = true
    this.fill()
  }

  // -- the table

  fill() {
    this.fillChips()
    this.fillBoxes()
    const spans = this.rows.flatMap((r) => r.cells.flatMap((c) => (c?.span ? [...c.span, ...c.band] : [])))
    this.scale = [Math.log(Math.min(0.5, ...spans)), Math.log(Math.max(2, ...spans))]
    this.fillRows((r) => !this.off.group.has(r.group) && !this.off.state.has(this.stateOf(r)) && !this.off.run.has(r.run),
      (r) => [r.name, r.group, r.state, r.reason, r.remark, ...r.flags], (a, b) => this.compare(a, b))
    const chosen = this.rows.find((r) => r.name === this.chosen && r.state === "measured")
    this.bundle.hidden = !chosen
    this.which.textContent = chosen ? chosen.label : ""
  }

  stateOf(row) {
    return row.state === "measured" && row.flags.length ? "flagged" : row.state
  }

  compare(a, b) {
    const {column, down} = this.sort
    return cellOrder(...[a, b].map((r) => (r.state === "measured" || column === 0 ? r.cells[column] : null)), down)
  }

  lines(row) {
    const best = row.name === this.advice.name, doing = this.status.state === "running" && this.status.doing.endsWith(` ${row.name}`)
    const attributes = {"data-name": row.name, "data-state": this.stateOf(row), class: [best && "lmkit-best", row.name === this.chosen && "lmkit-chosen", doing && "lmkit-now"]
      .filter(Boolean).join(" ")}
    const name = element("td", {class: "lmkit-first"}, element("span", {class: "lmkit-technique"}, row.label),
      best ? element("span", {class: "lmkit-badge"}, "ship this") : "", element("small", {}, row.group))
    const remark = row.flags.length ? element("ul", {}, ...row.flags.map((f) => element("li", {}, f))) : row.remark
    const line = (...cells) => element("tr", {...attributes, tabindex: "0", "aria-selected": String(row.name === this.chosen)}, ...cells)
    if (row.state !== "measured") {
      const said = doing ? this.status.doing.slice(0, -row.name.length).trim() + " …" : [row.state, row.reason].filter(Boolean).join(": ")
      if (this.wide.clientWidth >= NARROW)
        return [line(name, element("td", {class: "lmkit-instead", colspan: this.columns.length - 1}, element("div", {}, said)))]
      return this.remarked(line(name, element("td", {colspan: this.columns.length - 1})), attributes, said)
    }
    const first = line(name, ...row.cells.slice(1).map((cell) => this.cell(cell)))
    return row.flags.length || row.remark ? this.remarked(first, attributes, remark) : [first]
  }

  // A row with what is to be said of it on a line of its own.
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
    const kinds = {group: (r) => r.group, state: (r) => this.stateOf(r), run: (r) => r.run}, made = []
    const found = Object.entries(kinds).map(([kind, of]) => [kind, [...new Set(this.rows.map(of))].sort()])
    const key = JSON.stringify([found, Object.values(this.off).map((s) => [...s])])
    if (key === this.chipKey) return
    this.chipKey = key
    for (const [kind, values] of found) {
      if (values.length < 2) continue
      made.push(element("span", {class: "lmkit-kind"}, kind), ...values.map((value) => this.chip(this.off[kind], value)))
    }
    this.chips.replaceChildren(...made)
  }

  fillBoxes() {
    const known = new Set(this.rows.map((r) => r.technique)), free = this.model.get("techniques").filter((t) => !known.has(t.name))
    const key = free.map((t) => t.name).join()
    if (key === this.boxKey) return
    this.boxKey = key
    const groups = [...new Set(free.map((t) => t.group))]
    this.boxes.replaceChildren(...groups.map((group) => element("fieldset", {}, element("legend", {}, group),
      ...free.filter((t) => t.group === group).map((t) =>
        element("label", {}, element("input", {type: "checkbox", value: t.name}), element("span", {}, element("b", {}, t.name), ` ${t.help}`))))))
    if (!free.length) this.boxes.replaceChildren("all that there are are in the table")
  }

  // -- the chart

  drawNow() {
    const {ink, rule, paper, dark} = this.look(), tinted = (colour) => (dark ? LIGHTER[colour] ?? colour : colour)
    const panel = this.chart ?? {series: [], x_title: "", y_title: "", log_x: true}
    const byLabel = new Map(this.rows.map((r) => [r.label, r]))
    const stands = (label) => byLabel.get(label)?.name === this.advice.name || byLabel.get(label)?.group === "baseline"
    const traces = panel.series.map((s) => {
      const colour = tinted(s.colour), common = {name: s.name, x: s.x, y: s.y, type: "scatter"}
      if (s.style !== "points")
        return {...common, mode: "lines", hoverinfo: "skip", line: {color: colour, width: 1.5, dash: s.style === "line" ? "solid" : "dash"}}
      const bars = (spans, values) => (spans?.length ? {type: "data", symmetric: false, array: spans.map((p, i) => p[1] - values[i]),
        arrayminus: spans.map((p, i) => values[i] - p[0]), thickness: 1.5, width: 3, color: colour} : undefined)
      return {...common, mode: "markers+text", text: s.labels.map((l, i) => (s.told[i] || stands(l) ? l : "")), customdata: s.labels, textposition: "top center",
        textfont: {size: 11, color: ink}, cliponaxis: false, error_x: bars(s.spans, s.x), error_y: bars(s.y_spans, s.y),
        marker: {color: colour, opacity: 0.65, symbol: s.symbols.length ? s.symbols : "circle", size: s.sizes.length ? s.sizes : 8, line: {width: 1.5, color: s.labels.map((l) => (byLabel.get(l)?.name === this.advice.name ? ink : colour))}},
        hovertemplate: `<b>%{customdata}</b><br>%{x:.4~g} · ${panel.y_title} %{y:.4~g}<extra></extra>`}
    })
    this.legend.replaceChildren(...panel.series.filter((s) => s.style === "points").map((s) => {
      if (!s.x.length) return element("span", {class: "lmkit-entry"}, `${GLYPHS[s.symbols[0]] ?? ""} ${s.name}`) // a run's symbol
      const key = element("i", {class: "lmkit-key"})
      key.style.background = tinted(s.colour)
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
    const first = !this.chartDiv.data
    this.plotly.react(this.chartDiv, traces, layout, {displayModeBar: false, responsive: false})
    if (first) this.chartDiv.on("plotly_click", ({points}) => this.choose(byLabelNow(this, points[0]?.customdata)))
  }
}

const byLabelNow = (view, label) => view.rows.find((r) => r.label === label)?.name

export default {
  render({model, el}) {
    const view = new View(model, el)
    return () => view.close()
  },
}
