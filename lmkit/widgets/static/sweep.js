// The view of a live sweep: a table of trials, charts, the details of a trial, a Cancel button.
//
// Updates also have {charts?}. Further messages to the kernel: "cancel", "resume", "mirror".

const DARK = {...LIGHTER, "#56B4E9": "#3B6E90"} // background trials on a dark theme

const TITLES = {
  parallel_coordinates: ["Parameters and results", "one line per trial; click a line to select it in the table"],
  sweep_history: ["Optimization history", ""],
  importance: ["Parameter importance", "share of the variance explained by each parameter alone"],
}

class View extends LiveView {
  constructor(model, el) {
    super(model, el, "sweep", {state: "running", done: 0, total: 0, activity: "", seconds_left: null, best: "", resumable: false})
  }

  init() {
    this.charts = {}
    this.hidden = new Set()
  }

  parts() {
    return [this.head(), this.filters(), this.table("trials"), this.details(), this.chartParts(), this.tracking(), this.message]
  }

  // -- its parts

  head() {
    this.cancel = this.button("Cancel", "Start no more trials; running trials save a checkpoint, from which they can be resumed", () => {
      this.send({type: "cancel"})
      this.cancel.disabled = true
      this.showMessage("Cancelling. Running trials are saving a checkpoint, from which they can be resumed.")
    })
    this.resume = this.button("Resume", "Resume the trials from their checkpoints, and start the others", () => {
      if (!this.send({type: "resume"})) return
      this.resume.disabled = true
      this.showMessage("Resuming…")
    })
    return this.header(this.cancel, this.resume)
  }

  tracking() {
    return trackerForm(this.model.get("trackers"), (to) => {
      this.send({type: "mirror", to})
      this.showMessage(`Starting ${to}…`)
    })
  }

  details() {
    return (this.detail = element("div", {class: "lmkit-detail", "aria-live": "polite"}))
  }

  chartParts() {
    this.divs = {}
    this.figures = element("div", {class: "lmkit-figures"}, ...Object.entries(TITLES).map(([name, [title, caption]]) => {
      this.divs[name] = element("div", {class: "lmkit-chart", role: "img", "aria-label": title})
      return element("figure", {hidden: true, class: `lmkit-figure lmkit-${name}`}, element("figcaption", {}, title, element("small", {}, caption)), this.divs[name])
    }))
    return this.figures
  }

  // -- messages of the kernel

  update({charts}) {
    if (charts) this.charts = charts
  }

  showStatus() {
    const {state, done, total, activity, best, resumable} = this.status
    this.cancel.hidden = state !== "running"
    this.resume.hidden = !resumable
    if (state !== "running") this.cancel.disabled = false
    if (state === "running") this.resume.disabled = false
    const hint = state === "interrupted" && !resumable && "Run the cell again to continue"
    this.showProgress(`${done} of ${total} trials finished${activity ? `, ${activity}` : ""}`, best, this.remaining(), hint)
  }

  // -- the table

  fill() {
    this.fillChips()
    const {column, down} = this.sort
    this.fillRows((r) => !this.hidden.has(r.state), (r) => [r.state, r.error, r.run],
      (a, b) => cellOrder(a.cells[column], b.cells[column], down))
    const isText = (i) => this.rows.every((r) => r.cells[i]?.value === undefined) && this.rows.some((r) => r.cells[i])
    ;[...this.headRow.children].forEach((th, i) => th.classList.toggle("lmkit-text", isText(i)))
    this.fillDetail()
  }

  lines(row) {
    const classes = [row.best && "lmkit-best", row.name === this.selected && "lmkit-selected", row.error && "lmkit-remarked"].filter(Boolean).join(" ")
    const cells = row.cells.map((cell, i) => {
      const td = element("td", {class: [i === 0 && "lmkit-first", i === 1 && "lmkit-of", !cell ? "lmkit-none" : cell.value !== undefined && i > 0 && "lmkit-value"]
        .filter(Boolean).join(" ")}, cell ? cell.text : "–")
      if (i === 0 && row.best) td.append(element("span", {class: "lmkit-badge"}, "best"))
      return td
    })
    const line = element("tr", {"data-name": row.name, "data-state": row.state, class: classes, tabindex: "0", "aria-selected": String(row.name === this.selected)}, ...cells)
    if (!row.error) return [line]
    return [line, element("tr", {"data-name": row.name, "data-state": row.state, class: `${classes.replace("lmkit-remarked", "")} lmkit-remark`},
      element("td", {class: "lmkit-instead", colspan: this.columns.length}, element("div", {}, row.error.split("\n")[0])))]
  }

  select(name) {
    if (!name || getSelection().toString()) return
    this.selected = this.selected === name ? "" : name
    this.fill()
  }

  // The details of the selected trial, with code to open it.
  fillDetail() {
    const row = this.rows.find((r) => r.name === this.selected), key = JSON.stringify(row ?? null)
    if (key === this.detailKey) return
    this.detailKey = key
    if (!row) return this.detail.replaceChildren()
    const code = (text) => element("span", {class: "lmkit-code"}, element("code", {}, text),
      element("button", {type: "button", class: "lmkit-chip", title: `copy ${text}`, onclick: (e) => {
        navigator.clipboard?.writeText(text)
        e.target.textContent = "Copied"
      }}, "Copy"))
    const parts = [["parameters", Object.entries(row.parameters).map(([k, v]) => `${k} = ${v}`).join(", ")]]
    if (row.run) parts.push(["run", code(`lk.attach("${row.run.split("-").at(-1)}")`)])
    if (row.notebook) parts.push(["notebook", code(row.notebook)])
    if (row.error) parts.push(["error", element("pre", {}, row.error)])
    this.detail.replaceChildren(element("b", {}, `Trial ${row.name}`), element("dl", {}, ...parts.flatMap(([k, v]) => [element("dt", {}, k), element("dd", {}, v)])))
  }

  fillChips() {
    const states = [...new Set(this.rows.map((r) => r.state))].sort(), key = JSON.stringify([states, [...this.hidden]])
    if (key === this.chipKey) return
    this.chipKey = key
    this.chips.replaceChildren(...(states.length < 2 ? [] : states).map((state) => this.chip(this.hidden, state)))
  }

  // -- the charts

  drawNow() {
    for (const name of Object.keys(TITLES)) this.drawOne(name)
  }

  drawOne(name) {
    const figure = this.charts[name], div = this.divs[name]
    div.parentElement.hidden = !figure?.data // until enough trials have completed
    if (!figure?.data) return
    const first = !div.data, {data, layout} = this.withTheme(figure, div)
    this.plotly.react(div, data, layout, {displayModeBar: false, responsive: false})
    if (first && name !== "importance") div.on("plotly_click", ({points}) => {
      const number = String(points[0]?.customdata ?? points[0]?.x)
      if (this.selected !== number) this.select(number)
      ;[...this.body.children].find((tr) => tr.dataset.name === number)?.scrollIntoView({block: "nearest"})
    })
  }

  // The figure of the kernel in the colours of the theme.
  withTheme(figure, div) {
    const {ink, rule, paper, dark} = this.theme(), adjusted = (colour) => (dark ? DARK[colour] ?? colour : colour)
    const data = figure.data.map((trace) => ({...trace,
      ...(trace.line ? {line: {...trace.line, color: adjusted(trace.line.color)}} : {}),
      ...(trace.marker ? {marker: {...trace.marker, color: adjusted(trace.marker.color)}} : {})}))
    const axes = Object.fromEntries(Object.entries(figure.layout).filter(([key]) => /^[xy]axis/.test(key))
      .map(([key, axis]) => [key, {...axis, color: ink, gridcolor: rule, linecolor: rule, tickfont: {size: 11},
        title: {...axis.title, font: {size: 12}, standoff: 6}}]))
    const annotations = (figure.layout.annotations ?? []).map((a) => ({...a, font: {...a.font, color: ink}, ...(a.bgcolor ? {bgcolor: paper} : {})}))
    const layout = {...figure.layout, ...axes, annotations, title: undefined, uirevision: "same", font: {...figure.layout.font, color: ink, family: "inherit"},
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", dragmode: "pan",
      hoverlabel: {bgcolor: paper, bordercolor: rule, font: {color: ink, size: 12}, align: "left"},
      margin: {l: 46, r: 36, t: 14, b: 40}, width: div.clientWidth, height: div.clientHeight}
    return {data, layout}
  }
}

export default {
  render({model, el}) {
    const view = new View(model, el)
    return () => view.close()
  },
}
