// The page's side of a live sweep: a table of trials and charts that fill, what is known of a trial, a button to end it.
//
// Kernel → page: {type: "news", anew, status?, columns?, rows?, charts?}, of rows those that changed; "said" with a text;
// "plotly" with plotly.js, gzipped; "ended" with the outputs that take the widget's place.
// Page → kernel: "hello" (tell everything), "plotly", "used" (stay when all have ended), "close", "cancel".

const DARK = {...LIGHTER, "#56B4E9": "#3B6E90"} // of trials that are many: behind the others on a dark theme too

const TITLES = {
  parallel_coordinates: ["Parameters and results", "a line a trial; click on one to see it in the table"],
  sweep_history: ["History", ""],
  importance: ["Importance", "share of the variance that a parameter accounts for by itself"],
}

class View {
  constructor(model, el) {
    this.model = model
    this.rows = []
    this.columns = []
    this.charts = {}
    this.status = {state: "running", done: 0, total: 0, doing: "", left: null, best: ""}
    this.chosen = ""
    this.sort = {column: -1, down: false}
    this.off = new Set()
    this.root = element("div", {class: "lmkit-live lmkit-sweep", role: "group", "aria-label": "sweep",
      "data-lm-suppress-shortcuts": "true", onkeydown: passOn, onpointerdown: () => this.use(), onkeyup: () => this.use()})
    this.root.append(this.head(), this.filters(), this.tableParts(), this.details(), this.chartParts(), this.foot())
    el.append(this.root)
    model.on("msg:custom", (this.onMessage = (message, buffers) => this.hear(message, buffers)))
    this.watching = new IntersectionObserver((seen) => {
      this.visible = seen.some((s) => s.isIntersecting)
      if (this.visible) this.draw()
    })
    this.watching.observe(this.figures)
    this.themes = new MutationObserver(() => this.draw())
    this.themes.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"]})
    this.sizes = new ResizeObserver(() => {
      this.wide.style.setProperty("--lmkit-room", `${this.wide.clientWidth}px`)
      this.draw()
    })
    this.sizes.observe(this.root)
    this.clock = setInterval(() => this.tick(), 1000)
    page.plotly.then((plotly) => ((this.plotly = plotly), this.draw()))
    askForPlotly(model)
    model.send({type: "hello"})
  }

  close() {
    clearInterval(this.clock)
    this.model.off("msg:custom", this.onMessage)
    for (const observer of [this.watching, this.themes, this.sizes]) observer.disconnect()
    if (this.plotly) for (const div of Object.values(this.divs)) this.plotly.purge(div)
  }

  // Whoever has touched it keeps it when all have ended, until it is closed.
  use() {
    if (this.used) return
    this.used = true
    this.model.send({type: "used"})
  }

  // -- its parts

  head() {
    const button = (text, title, onclick) => element("button", {type: "button", title, onclick}, text)
    this.state = element("span", {class: "lmkit-state", role: "status"}, "running")
    this.cancel = button("Cancel", "Begin no more trials; those that run write a checkpoint, and the same command goes on", () => {
      this.model.send({type: "cancel"})
      this.cancel.disabled = true
      this.say("asked to end: trials that run write down where they stand; the same command goes on with them")
    })
    this.done = button("Close", "Leave the table and the charts as they are saved in the notebook", () => this.model.send({type: "close"}))
    this.bar = element("progress", {max: 1, value: 0, "aria-label": "progress of the sweep"})
    this.doing = element("div", {class: "lmkit-doing"})
    return element("div", {},
      element("div", {class: "lmkit-title"}, element("span", {class: "lmkit-name"}, this.model.get("title")), this.state,
        element("span", {class: "lmkit-actions"}, this.cancel, this.done)),
      this.bar, this.doing)
  }

  filters() {
    this.search = element("input", {type: "search", placeholder: "filter", "aria-label": "filter", oninput: () => this.fill()})
    this.chips = element("span", {class: "lmkit-chips"})
    this.count = element("span", {class: "lmkit-count"})
    return element("div", {class: "lmkit-filters"}, this.search, this.chips, this.count)
  }

  tableParts() {
    this.headRow = element("tr")
    this.body = element("tbody", {onclick: (e) => this.choose(e.target.closest("tr")?.dataset.name),
      onkeydown: (e) => ["Enter", " "].includes(e.key) && e.target.dataset.name && (e.preventDefault(), this.choose(e.target.dataset.name))})
    const table = element("table", {"aria-label": "trials"}, element("thead", {}, this.headRow), this.body)
    return (this.wide = element("div", {class: "lmkit-wide", tabindex: "0", role: "region", "aria-label": "table of trials"}, table))
  }

  details() {
    return (this.detail = element("div", {class: "lmkit-detail", "aria-live": "polite"}))
  }

  chartParts() {
    this.divs = {}
    this.figures = element("div", {class: "lmkit-figures"}, ...Object.entries(TITLES).map(([name, [title, words]]) => {
      this.divs[name] = element("div", {class: "lmkit-chart", role: "img", "aria-label": title})
      return element("figure", {hidden: true, class: `lmkit-figure lmkit-${name}`}, element("figcaption", {}, title, element("small", {}, words)), this.divs[name])
    }))
    return this.figures
  }

  foot() {
    return (this.said = element("div", {class: "lmkit-said", "aria-live": "polite"}))
  }

  // -- what the kernel tells

  hear(message, buffers) {
    if (message.type === "plotly") return void receivePlotly(buffers[0])
    if (message.type === "said") return this.say(message.text, message.bad)
    if (message.type === "refused") return this.say(message.text, true)
    if (message.type === "ended") return void setTimeout(() => replaceOutputs(this.model, this.root, message.outputs), 1000)
    const {status, columns, rows, charts} = message
    if (message.anew) this.rows = []
    if (status && status.state !== this.status.state && status.state !== "running") this.say("")
    if (status) this.status = {...status, heard: Date.now()}
    if (columns) this.columns = columns
    for (const row of rows ?? []) {
      const at = this.rows.findIndex((r) => r.name === row.name)
      if (at < 0) this.rows.push(row)
      else this.rows[at] = row
    }
    this.steer()
    if (rows || columns) this.fill()
    if (charts) {
      this.charts = charts
      this.draw()
    }
  }

  say(text, bad = false) {
    this.said.textContent = text
    this.said.classList.toggle("lmkit-bad", bad)
  }

  tick() {
    if (!this.plotly) askForPlotly(this.model)
    if (this.status.state === "running") this.steer()
    if (this.theme() !== this.drawn) this.draw() // a theme's colours may come before or after it is told that it is dark
  }

  theme() {
    return document.body.dataset.jpThemeLight + getComputedStyle(this.root).getPropertyValue("--lmkit-ink")
  }

  steer() {
    const {state, done, total, doing, left, best} = this.status, running = state === "running"
    this.state.textContent = state
    this.state.dataset.state = state
    this.cancel.hidden = !running
    this.done.hidden = running
    this.bar.value = total ? done / total : 0
    const remain = left == null ? null : Math.max(1, left - (Date.now() - this.status.heard) / 1000)
    const go = state === "interrupted" && "the same command goes on"
    this.doing.textContent = [`${done} of ${total} trials have ended${doing ? ` (${doing})` : ""}`, best, remain && `about ${duration(Math.round(remain))} left`, go]
      .filter(Boolean).join(" · ")
  }

  // -- the table

  fill() {
    this.fillChips()
    const key = JSON.stringify([this.columns, this.sort])
    if (key !== this.headKey) sortableHead(this.headRow, this.columns, this.sort, (sort) => ((this.sort = sort), this.fill()))
    this.headKey = key
    const isText = (i) => this.rows.every((r) => r.cells[i]?.value === undefined) && this.rows.some((r) => r.cells[i])
    ;[...this.headRow.children].forEach((th, i) => th.classList.toggle("lmkit-text", isText(i)))
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean)
    const text = (r) => [r.state, r.error, r.run, ...r.cells.map((c) => c?.text ?? "")].join(" ").toLowerCase()
    const shown = this.rows.filter((r) => !this.off.has(r.state) && words.every((w) => text(r).includes(w)))
    const {column, down} = this.sort
    if (column >= 0) shown.sort((a, b) => cellOrder(a.cells[column], b.cells[column], down))
    const focused = this.body.contains(document.activeElement) && document.activeElement.dataset.name
    this.body.replaceChildren(...shown.flatMap((row) => this.lines(row)))
    if (focused) [...this.body.children].find((tr) => tr.tabIndex === 0 && tr.dataset.name === focused)?.focus()
    this.count.textContent = shown.length < this.rows.length ? `${shown.length} of ${this.rows.length} shown` : ""
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
    this.chips.replaceChildren(...(states.length < 2 ? [] : states).map((state) => {
      const shown = !this.off.has(state)
      return element("button", {type: "button", class: "lmkit-chip", "aria-pressed": String(shown), title: `${shown ? "hide" : "show"} ${state}`, onclick: () => {
        this.off[shown ? "add" : "delete"](state)
        this.fill()
      }}, state)
    }))
  }

  // -- the charts

  draw() {
    if (!this.plotly || !this.visible || this.due) return
    this.due = requestAnimationFrame(() => {
      this.due = null
      if (!this.root.isConnected || !this.root.clientWidth) return
      this.drawn = this.theme()
      for (const name of Object.keys(TITLES)) this.drawOne(name)
    })
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
    const style = getComputedStyle(this.root), value = (name) => style.getPropertyValue(name).trim()
    const ink = value("--lmkit-ink") || "#333", rule = value("--lmkit-rule") || "#ddd", paper = value("--lmkit-paper") || "#fff"
    const dark = document.body.dataset.jpThemeLight === "false", tinted = (colour) => (dark ? DARK[colour] ?? colour : colour)
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
