// What the live tables have in common: a table that fills, is sorted and filtered, a row that is chosen, a place for what is said.
//
// Kernel → page: {type: "news", anew, status?, columns?, rows?, …}, of rows those that changed; "said" with a text; "plotly" with
// plotly.js, gzipped; "ended" with the outputs that take the widget's place.
// Page → kernel: "hello" (tell everything), "plotly", "used" (stay when all has ended), "close", and what each asks by itself.
//
// A table of its own gives: parts(), its elements from top to bottom; pictures, which are drawn while they are seen; take(message),
// what is in the news beside the rows; steer(), how it goes; lines(row), the table's; fill(); drawNow(); resized().

class LiveView extends PageView {
  constructor(model, el, kind, status) {
    super(model)
    this.rows = []
    this.columns = []
    this.status = status
    this.chosen = ""
    this.sort = {column: -1, down: false}
    this.begin()
    this.root = element("div", {class: `lmkit-live lmkit-${kind}`, role: "group", "aria-label": kind,
      "data-lm-suppress-shortcuts": "true", onkeydown: passOn, onpointerdown: () => this.use(), onkeyup: () => this.use()})
    this.said = element("div", {class: "lmkit-said", "aria-live": "polite"})
    this.root.append(...this.parts())
    el.append(this.root)
    this.connect(this.pictures)
  }

  begin() {}

  resized() {
    this.wide.style.setProperty("--lmkit-room", `${this.wide.clientWidth}px`)
  }

  // Whoever has touched it keeps it when all has ended, until it is closed.
  use() {
    if (this.used) return
    this.used = true
    this.model.send({type: "used"})
  }

  // -- its parts

  // Title, state, buttons, progress.
  header(...buttons) {
    this.state = element("span", {class: "lmkit-state", role: "status"}, "running")
    this.done = this.button("Close", "Leave what is shown as it is saved in the notebook", () => this.model.send({type: "close"}))
    this.bar = element("progress", {max: 1, value: 0, "aria-label": "progress"})
    this.doing = element("div", {class: "lmkit-doing"})
    return element("div", {},
      element("div", {class: "lmkit-title"}, element("span", {class: "lmkit-name"}, this.model.get("title")), this.state,
        element("span", {class: "lmkit-actions"}, ...buttons, this.done)),
      this.bar, this.doing)
  }

  button(text, title, onclick) {
    return element("button", {type: "button", title, onclick}, text)
  }

  filters() {
    this.search = element("input", {type: "search", placeholder: "filter", "aria-label": "filter", oninput: () => this.fill()})
    this.chips = element("span", {class: "lmkit-chips"})
    this.count = element("span", {class: "lmkit-count"})
    return element("div", {class: "lmkit-filters"}, this.search, this.chips, this.count)
  }

  // A chip that hides, or shows, the rows of which something is `value`.
  chip(off, value) {
    const shown = !off.has(value)
    return element("button", {type: "button", class: "lmkit-chip", "aria-pressed": String(shown), title: `${shown ? "hide" : "show"} ${value}`,
      onclick: () => {
        off[shown ? "add" : "delete"](value)
        this.fill()
      }}, value)
  }

  tableParts(of) {
    this.headRow = element("tr")
    this.body = element("tbody", {onclick: (e) => this.choose(e.target.closest("tr")?.dataset.name),
      onkeydown: (e) => ["Enter", " "].includes(e.key) && e.target.dataset.name && (e.preventDefault(), this.choose(e.target.dataset.name))})
    const table = element("table", {"aria-label": of}, element("thead", {}, this.headRow), this.body)
    return (this.wide = element("div", {class: "lmkit-wide", tabindex: "0", role: "region", "aria-label": `table of ${of}`}, table))
  }

  // -- what the kernel tells

  hear(message, buffers) {
    if (message.type === "plotly") return void receivePlotly(buffers[0])
    if (message.type === "said") return this.say(message.text, message.bad)
    if (message.type === "ended") return void setTimeout(() => replaceOutputs(this.model, this.root, message.outputs), 1000)
    const {status, columns, rows} = message
    if (message.anew) this.rows = []
    if (status && status.state !== this.status.state) this.say("")
    if (status) this.status = {...status, heard: Date.now()}
    if (columns) this.columns = columns
    for (const row of rows ?? []) {
      const at = this.rows.findIndex((r) => r.name === row.name)
      if (at < 0) this.rows.push(row)
      else this.rows[at] = row
    }
    this.take(message)
    this.steer()
    this.fill()
    this.draw()
  }

  say(text, bad = false) {
    this.said.textContent = text
    this.said.classList.toggle("lmkit-bad", bad)
  }

  tick() {
    if (!this.plotly) askForPlotly(this.model)
    if (this.status.state === "running") this.steer()
  }

  // State and progress; the words are what there is of `words`, and the time left.
  progress(...words) {
    const {state, done, total} = this.status
    this.state.textContent = state
    this.state.dataset.state = state
    this.done.hidden = state === "running"
    this.bar.value = total ? done / total : 0
    this.doing.textContent = words.filter(Boolean).join(" · ")
  }

  left() {
    const {left, heard} = this.status
    return left == null ? "" : `about ${duration(Math.round(Math.max(1, left - (Date.now() - heard) / 1000)))} left`
  }

  // -- the table

  // Fills in the rows that are `kept` and hold all words of the filter; `text` is what of a row is searched.
  fillRows(kept, text, compare) {
    const key = JSON.stringify([this.columns, this.sort])
    if (key !== this.headKey) sortableHead(this.headRow, this.columns, this.sort, (sort) => ((this.sort = sort), this.fill()))
    this.headKey = key
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean)
    const held = (r) => [...text(r), ...r.cells.map((c) => c?.text ?? "")].join(" ").toLowerCase()
    const shown = this.rows.filter((r) => kept(r) && words.every((w) => held(r).includes(w)))
    if (this.sort.column >= 0) shown.sort(compare)
    const focused = this.body.contains(document.activeElement) && document.activeElement.dataset.name
    this.body.replaceChildren(...shown.flatMap((row) => this.lines(row)))
    if (focused) [...this.body.children].find((tr) => tr.tabIndex === 0 && tr.dataset.name === focused)?.focus()
    this.count.textContent = shown.length < this.rows.length ? `${shown.length} of ${this.rows.length} shown` : ""
  }

  // -- the charts

  // The colours of the page.
  look() {
    const style = getComputedStyle(this.root), value = (name, other) => style.getPropertyValue(name).trim() || other
    return {ink: value("--lmkit-ink", "#333"), rule: value("--lmkit-rule", "#ddd"), paper: value("--lmkit-paper", "#fff"),
      dark: document.body.dataset.jpThemeLight === "false"}
  }
}
