// The page's side of a live comparison: a table and a chart that fill, what to ship of it, further techniques, bundles.
//
// Kernel → page: {type: "news", anew, status?, columns?, rows?, chart?, advice?}, of rows those that changed; "said" with a text;
// "plotly" with plotly.js, gzipped; "ended" with the outputs that take the widget's place.
// Page → kernel: "hello" (tell everything), "plotly", "used" (stay when all is measured), "close", "cancel", "resume",
// "constraint" {text}, "add" {names}, "bundle" {name, out}.

const NARROW = 560 // pixels; in a narrower table what is said of a row has a line of its own
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`

class View {
  constructor(model, el) {
    this.model = model
    this.rows = []
    this.columns = []
    this.status = {state: "running", done: 0, total: 0, doing: "", left: null, steered: true}
    this.advice = {constraint: model.get("examples")[0], name: "", text: ""}
    this.chosen = ""
    this.sort = {column: -1, down: false}
    this.off = {group: new Set(), state: new Set(), run: new Set()}
    this.root = element("div", {class: "lmkit-live lmkit-comparison", role: "group", "aria-label": "comparison",
      "data-lm-suppress-shortcuts": "true", onkeydown: passOn, onpointerdown: () => this.use(), onkeyup: () => this.use()})
    this.root.append(this.head(), this.ship(), this.filters(), this.tableParts(), this.chartParts(), this.foot())
    el.append(this.root)
    model.on("msg:custom", (this.onMessage = (message, buffers) => this.hear(message, buffers)))
    this.watching = new IntersectionObserver((seen) => {
      this.visible = seen.some((s) => s.isIntersecting)
      if (this.visible) this.draw()
    })
    this.watching.observe(this.chartDiv)
    this.themes = new MutationObserver(() => this.draw())
    this.themes.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"]})
    this.sizes = new ResizeObserver(() => {
      const narrow = this.wide.clientWidth < NARROW
      this.wide.style.setProperty("--lmkit-room", `${this.wide.clientWidth}px`)
      if (narrow !== this.narrow) this.fill()
      this.narrow = narrow
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
    if (this.plotly) this.plotly.purge(this.chartDiv)
  }

  // Whoever has touched it keeps it when all is measured, until it is closed.
  use() {
    if (this.used) return
    this.used = true
    this.model.send({type: "used"})
  }

  // -- its parts

  head() {
    const button = (text, title, onclick) => element("button", {type: "button", title, onclick}, text)
    this.state = element("span", {class: "lmkit-state", role: "status"}, "running")
    this.cancel = button("Cancel", "End the measuring now; finished variants are kept", () => {
      this.model.send({type: "cancel"})
      this.say("asked to end …")
    })
    this.resume = button("Resume", "Measure what was cancelled", () => this.model.send({type: "resume"}))
    this.done = button("Close", "Leave the table and the chart as they are saved in the notebook", () => this.model.send({type: "close"}))
    this.bar = element("progress", {max: 1, value: 0, "aria-label": "progress of the comparison"})
    this.doing = element("div", {class: "lmkit-doing"})
    return element("div", {},
      element("div", {class: "lmkit-title"}, element("span", {class: "lmkit-name"}, this.model.get("title")), this.state,
        element("span", {class: "lmkit-actions"}, this.cancel, this.resume, this.done)),
      this.bar, this.doing)
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
    const table = element("table", {"aria-label": "variants"}, element("thead", {}, this.headRow), this.body)
    return (this.wide = element("div", {class: "lmkit-wide", tabindex: "0", role: "region", "aria-label": "table of variants"}, table))
  }

  chartParts() {
    this.legend = element("div", {class: "lmkit-legend"})
    this.chartDiv = element("div", {class: "lmkit-chart", role: "img", "aria-label": "latency and quality of the variants"})
    return element("figure", {class: "lmkit-figure"}, element("figcaption", {}, "Latency and quality",
      element("small", {}, "area: size on disk · bars: 95 % intervals · dashed: what no other variant beats")), this.legend, this.chartDiv)
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
    this.said = element("div", {class: "lmkit-said", "aria-live": "polite"})
    return element("div", {class: "lmkit-foot"}, this.bundle, this.more, this.said)
  }

  // -- talking with the kernel

  hear(message, buffers) {
    if (message.type === "plotly") return receivePlotly(buffers[0])
    if (message.type === "said") return this.say(message.text, message.bad)
    if (message.type === "ended") return void setTimeout(() => replaceOutputs(this.model, this.root, message.outputs), 1000)
    const {status, columns, rows, chart, advice} = message
    if (message.anew) this.rows = []
    if (status && status.state !== this.status.state) this.say("")
    if (status) this.status = {...status, heard: Date.now()}
    if (columns) this.columns = columns
    for (const row of rows ?? []) {
      const at = this.rows.findIndex((r) => r.name === row.name)
      if (at < 0) this.rows.push(row)
      else this.rows[at] = row
    }
    if (chart !== undefined) this.chart = chart
    if (advice) this.advise(advice)
    this.steer()
    this.fill()
    this.draw()
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

  say(text, bad = false) {
    this.said.textContent = text
    this.said.classList.toggle("lmkit-bad", bad)
  }

  tick() {
    if (!this.plotly) askForPlotly(this.model)
    if (this.status.state === "running") this.steer()
  }

  // -- how it goes

  steer() {
    const {state, done, total, left, error, steered} = this.status, running = state === "running"
    this.state.textContent = state
    this.state.dataset.state = state
    this.cancel.hidden = !running
    this.resume.hidden = !steered || state !== "cancelled" && state !== "failed"
    this.done.hidden = running
    this.more.hidden = !steered
    this.bar.value = total ? done / total : 0
    const remain = left == null ? null : Math.max(1, left - (Date.now() - this.status.heard) / 1000)
    const words = [`${done} of ${plural(total, "variant")}`, this.short(this.status.doing), remain && `about ${duration(Math.round(remain))} left`, error]
    this.doing.textContent = words.filter(Boolean).join(" · ")
    this.doing.classList.toggle("lmkit-bad", Boolean(error))
    if (!this.asked && document.activeElement !== this.constraint) this.constraint.value = this.advice.constraint
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
    this.fillHead()
    this.fillBoxes()
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean)
    const text = (r) => [r.name, r.group, r.state, r.reason, r.remark, ...r.flags, ...r.cells.map((c) => c?.text ?? "")].join(" ").toLowerCase()
    const shown = this.rows.filter((r) => !this.off.group.has(r.group) && !this.off.state.has(this.stateOf(r)) && !this.off.run.has(r.run)
      && words.every((w) => text(r).includes(w)))
    if (this.sort.column >= 0) shown.sort((a, b) => this.compare(a, b))
    const spans = this.rows.flatMap((r) => r.cells.flatMap((c) => (c?.span ? [...c.span, ...c.band] : [])))
    this.scale = [Math.log(Math.min(0.5, ...spans)), Math.log(Math.max(2, ...spans))]
    const focused = this.body.contains(document.activeElement) && document.activeElement.dataset.name
    this.body.replaceChildren(...shown.flatMap((row) => this.lines(row)))
    if (focused) [...this.body.children].find((tr) => tr.tabIndex === 0 && tr.dataset.name === focused)?.focus()
    this.count.textContent = shown.length < this.rows.length ? `${shown.length} of ${this.rows.length} shown` : ""
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

  fillHead() {
    const key = JSON.stringify([this.columns, this.sort])
    if (key === this.headKey) return
    this.headKey = key
    sortableHead(this.headRow, this.columns, this.sort, (sort) => ((this.sort = sort), this.fill()))
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
      made.push(element("span", {class: "lmkit-kind"}, kind), ...values.map((value) => {
        const shown = !this.off[kind].has(value)
        return element("button", {type: "button", class: "lmkit-chip", "aria-pressed": String(shown), title: `${shown ? "hide" : "show"} ${value}`, onclick: () => {
          this.off[kind][shown ? "add" : "delete"](value)
          this.fill()
        }}, value)
      }))
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

  draw() {
    if (!this.plotly || !this.visible || this.due) return
    this.due = requestAnimationFrame(() => {
      this.due = null
      if (this.root.isConnected && this.root.clientWidth) this.drawNow()
    })
  }

  drawNow() {
    const style = getComputedStyle(this.root), value = (name) => style.getPropertyValue(name).trim()
    const ink = value("--lmkit-ink") || "#333", rule = value("--lmkit-rule") || "#ddd", paper = value("--lmkit-paper") || "#fff"
    const dark = document.body.dataset.jpThemeLight === "false", tinted = (colour) => (dark ? LIGHTER[colour] ?? colour : colour)
    const panel = this.chart ?? {series: [], x_title: "", y_title: "", log_x: true}
    const byLabel = new Map(this.rows.map((r) => [r.label, r]))
    const told = (label) => byLabel.get(label)?.front || byLabel.get(label)?.name === this.advice.name || byLabel.get(label)?.group === "baseline"
    const traces = panel.series.map((s) => {
      const colour = tinted(s.colour), common = {name: s.name, x: s.x, y: s.y, type: "scatter"}
      if (s.style !== "points")
        return {...common, mode: "lines", hoverinfo: "skip", line: {color: colour, width: 1.5, dash: s.style === "line" ? "solid" : "dash"}}
      const bars = (spans, values) => (spans?.length ? {type: "data", symmetric: false, array: spans.map((p, i) => p[1] - values[i]),
        arrayminus: spans.map((p, i) => values[i] - p[0]), thickness: 1.5, width: 3, color: colour} : undefined)
      return {...common, mode: "markers+text", text: s.labels.map((l) => (told(l) ? l : "")), customdata: s.labels, textposition: "top center",
        textfont: {size: 11, color: ink}, cliponaxis: false, error_x: bars(s.spans, s.x), error_y: bars(s.y_spans, s.y),
        marker: {color: colour, opacity: 0.65, size: s.sizes.length ? s.sizes : 8, line: {width: 1.5, color: s.labels.map((l) => (byLabel.get(l)?.name === this.advice.name ? ink : colour))}},
        hovertemplate: `<b>%{customdata}</b><br>%{x:.4~g} · ${panel.y_title} %{y:.4~g}<extra></extra>`}
    })
    this.legend.replaceChildren(...panel.series.filter((s) => s.style === "points").map((s) => {
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
