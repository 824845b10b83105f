// The page's side of a live sweep: a table of trials and charts that fill, what is known of a trial, a button to end it.
//
// Beside the rows the news hold {charts?}. It also asks: "cancel", "mirror".

const DARK = {...LIGHTER, "#56B4E9": "#3B6E90"} // of trials that are many: behind the others on a dark theme too

const TITLES = {
  parallel_coordinates: ["Parameters and results", "a line a trial; click on one to see it in the table"],
  sweep_history: ["History", ""],
  importance: ["Importance", "share of the variance that a parameter accounts for by itself"],
}

class View extends LiveView {
  constructor(model, el) {
    super(model, el, "sweep", {state: "running", done: 0, total: 0, doing: "", left: null, best: ""})
  }

  begin() {
    this.charts = {}
    this.off = new Set()
  }

  parts() {
    return [this.head(), this.filters(), this.tableParts("trials"), this.details(), this.chartParts(), this.mirror(), this.said]
  }

  // -- its parts

  head() {
    this.cancel = this.button("Cancel", "Begin no more trials; those that run write a checkpoint, and the same command goes on", () => {
      this.model.send({type: "cancel"})
      this.cancel.disabled = true
      this.say("asked to end: trials that run write down where they stand; the same command goes on with them")
    })
    return this.header(this.cancel)
  }

  mirror() {
    return mirrorForm(this.model.get("trackers"), (to) => {
      this.model.send({type: "mirror", to})
      this.say(`${to} is opened …`)
    })
  }

  details() {
    return (this.detail = element("div", {class: "lmkit-detail", "aria-live": "polite"}))
  }

  chartParts() {
    this.divs = {}
    this.pictures = element("div", {class: "lmkit-figures"}, ...Object.entries(TITLES).map(([name, [title, words]]) => {
      this.divs[name] = element("div", {class: "lmkit-chart", role: "img", "aria-label": title})
      return element("figure", {hidden: true, class: `lmkit-figure lmkit-${name}`}, element("figcaption", {}, title, element("small", {}, words)), this.divs[name])
    }))
    return this.pictures
  }

  // -- what the kernel tells

  take({charts}) {
    if (charts) this.charts = charts
  }

  tick() {
    super.tick()
    if (this.theme() !== this.drawn) this.draw() // a theme's colours may come before or after it is told that it is dark
  }

  theme() {
    return document.body.dataset.jpThemeLight + getComputedStyle(this.root).getPropertyValue("--lmkit-ink")
  }

  steer() {
    const {state, done, total, doing, best} = this.status
    this.cancel.hidden = state !== "running"
    const go = state === "interrupted" && "the same command goes on"
    this.progress(`${done} of ${total} trials have ended${doing ? ` (${doing})` : ""}`, best, this.left(), go)
  }

  // -- the table

  fill() {
    this.fillChips()
    const {column, down} = this.sort
    this.fillRows((r) => !this.off.has(r.state), (r) => [r.state, r.error, r.run],
      (a, b) => cellOrder(a.cells[column], b.cells[column], down))
    const isText = (i) => this.rows.every((r) => r.cells[i]?.value === undefined) && this.rows.some((r) => r.cells[i])
    ;[...this.headRow.children].forEach((th, i) => th.classList.toggle("lmkit-text", isText(i)))
    this.fillDetail()
  }

  lines(row) {
    const classes = [row.best && "lmkit-best", row.name === this.chosen && "lmkit-chosen", row.error && "lmkit-remarked"].filter(Boolean).join(" ")
    const cells = row.cells.map((cell, i) => {
      const shown = element("td", {class: [i === 0 && "lmkit-first", i === 1 && "lmkit-of", !cell ? "lmkit-none" : cell.value !== undefined && i > 0 && "lmkit-value"]
        .filter(Boolean).join(" ")}, cell ? cell.text : "–")
      if (i === 0 && row.best) shown.append(element("span", {class: "lmkit-badge"}, "best"))
      return shown
    })
    const line = element("tr", {"data-name": row.name, "data-state": row.state, class: classes, tabindex: "0", "aria-selected": String(row.name === this.chosen)}, ...cells)
    if (!row.error) return [line]
    return [line, element("tr", {"data-name": row.name, "data-state": row.state, class: `${classes.replace("lmkit-remarked", "")} lmkit-remark`},
      element("td", {class: "lmkit-instead", colspan: this.columns.length}, element("div", {}, row.error.split("\n")[0])))]
  }

  choose(name) {
    if (!name || getSelection().toString()) return
    this.chosen = this.chosen === name ? "" : name
    this.fill()
  }

  // What is known of the chosen trial, and how to take it up.
  fillDetail() {
    const row = this.rows.find((r) => r.name === this.chosen), key = JSON.stringify(row ?? null)
    if (key === this.detailKey) return
    this.detailKey = key
    if (!row) return this.detail.replaceChildren()
    const code = (text) => element("span", {class: "lmkit-code"}, element("code", {}, text),
      element("button", {type: "button", class: "lmkit-chip", title: `copy ${text}`, onclick: (e) => {
        navigator.clipboard?.writeText(text)
        e.target.textContent = "copied"
      }}, "copy"))
    const parts = [["given", Object.entries(row.given).map(([k, v]) => `${k} = ${v}`).join(", ")]]
    if (row.run) parts.push(["run", code(`lk.attach("${row.run.split("-").at(-1)}")`)])
    if (row.notebook) parts.push(["notebook", code(row.notebook)])
    if (row.error) parts.push(["error", element("pre", {}, row.error)])
    this.detail.replaceChildren(element("b", {}, `Trial ${row.name}`), element("dl", {}, ...parts.flatMap(([k, v]) => [element("dt", {}, k), element("dd", {}, v)])))
  }

  fillChips() {
    const states = [...new Set(this.rows.map((r) => r.state))].sort(), key = JSON.stringify([states, [...this.off]])
    if (key === this.chipKey) return
    this.chipKey = key
    this.chips.replaceChildren(...(states.length < 2 ? [] : states).map((state) => this.chip(this.off, state)))
  }

  // -- the charts

  drawNow() {
    this.drawn = this.theme()
    for (const name of Object.keys(TITLES)) this.drawOne(name)
  }

  drawOne(name) {
    const figure = this.charts[name], div = this.divs[name]
    div.parentElement.hidden = !figure?.data // until enough trials have completed
    if (!figure?.data) return
    const first = !div.data, {data, layout} = this.themed(figure, div)
    this.plotly.react(div, data, layout, {displayModeBar: false, responsive: false})
    if (first && name !== "importance") div.on("plotly_click", ({points}) => {
      const number = String(points[0]?.customdata ?? points[0]?.x)
      if (this.chosen !== number) this.choose(number)
      ;[...this.body.children].find((tr) => tr.dataset.name === number)?.scrollIntoView({block: "nearest"})
    })
  }

  // The figure of the kernel, in the colours of the page.
  themed(figure, div) {
    const {ink, rule, paper, dark} = this.look(), tinted = (colour) => (dark ? DARK[colour] ?? colour : colour)
    const data = figure.data.map((trace) => ({...trace,
      ...(trace.line ? {line: {...trace.line, color: tinted(trace.line.color)}} : {}),
      ...(trace.marker ? {marker: {...trace.marker, color: tinted(trace.marker.color)}} : {})}))
    const axes = Object.fromEntries(Object.entries(figure.layout).filter(([key]) => /^[xy]axis/.test(key))
      .map(([key, axis]) => [key, {...axis, color: ink, gridcolor: rule, linecolor: rule, tickfont: {size: 11},
        title: {...axis.title, font: {size: 12}, standoff: 6}}]))
    const annotations = (figure.layout.annotations ?? []).map((a) => ({...a, font: {...a.font, color: ink}, ...(a.bgcolor ? {bgcolor: paper} : {})}))
    const layout = {...figure.layout, ...axes, annotations, title: undefined, uirevision: "same", font: {...figure.layout.font, color: ink, family: "inherit"},
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", dragmode: "pan",
      hoverlabel: {bgcolor: paper, bordercolor: rule, font: {color: ink, size: 12}, align: "left"},
      margin: {l: 46, r: 24, t: 14, b: 40}, width: div.clientWidth, height: div.clientHeight}
    return {data, layout}
  }
}

export default {
  render({model, el}) {
    const view = new View(model, el)
    return () => view.close()
  },
}
