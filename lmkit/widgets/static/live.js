// The base of the live tables: a table that can be sorted and filtered, a selected row, and a message line.
//
// Kernel → page: {type: "update", reset, status?, columns?, rows?, …} with the changed rows; "message" with a text; "plotly" with
// the gzipped plotly.js; "ended" with the outputs that replace the widget.
// Page → kernel: "ready" (send everything), "plotly", "keep" (keep the widget after the end), "close", and those of each table.
//
// A subclass implements parts(), its elements from top to bottom; charts, drawn while visible; update(message), for the keys other
// than rows; showStatus(); lines(row), the table rows of a row; fill(); drawNow(); resized().

class LiveView extends PageView {
  constructor(model, el, kind, status) {
    super(model)
    this.rows = []
    this.columns = []
    this.status = status
    this.selected = ""
    this.sort = {column: -1, down: false}
    this.init()
    this.root = element("div", {class: `lmkit-live lmkit-${kind}`, role: "group", "aria-label": kind,
      "data-lm-suppress-shortcuts": "true", onkeydown: forwardShortcuts, onpointerdown: () => this.keep(), onkeyup: () => this.keep()})
    this.message = element("div", {class: "lmkit-message", "aria-live": "polite"})
    this.root.append(...this.parts())
    el.append(this.root)
    this.connect(this.figures)
  }

  init() {}

  resized() {
    this.wide.style.setProperty("--lmkit-room", `${this.wide.clientWidth}px`)
  }

  // A widget that was used stays after the end, until it is closed.
  keep() {
    if (this.kept) return
    this.kept = true
    this.send({type: "keep"})
  }

  // -- its parts

  // Title, state, buttons, progress.
  header(...buttons) {
    this.state = element("span", {class: "lmkit-state", role: "status"}, "running")
    this.closeButton = this.button("Close", "Replace the widget with the output saved in the notebook", () => this.send({type: "close"}))
    this.bar = element("progress", {max: 1, value: 0, "aria-label": "progress"})
    this.activity = element("div", {class: "lmkit-activity"})
    return element("div", {},
      element("div", {class: "lmkit-title"}, element("span", {class: "lmkit-name"}, this.model.get("title")), this.state,
        element("span", {class: "lmkit-actions"}, ...buttons, this.closeButton)),
      this.bar, this.activity)
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

  // A chip that hides or shows the rows with a `value`.
  chip(hidden, value) {
    const visible = !hidden.has(value)
    return element("button", {type: "button", class: "lmkit-chip", "aria-pressed": String(visible), title: `${visible ? "hide" : "show"} ${value}`,
      onclick: () => {
        hidden[visible ? "add" : "delete"](value)
        this.fill()
      }}, value)
  }

  table(subject) {
    this.headRow = element("tr")
    this.body = element("tbody", {onclick: (e) => this.select(e.target.closest("tr")?.dataset.name),
      onkeydown: (e) => ["Enter", " "].includes(e.key) && e.target.dataset.name && (e.preventDefault(), this.select(e.target.dataset.name))})
    const table = element("table", {"aria-label": subject}, element("thead", {}, this.headRow), this.body)
    return (this.wide = element("div", {class: "lmkit-wide", tabindex: "0", role: "region", "aria-label": `table of ${subject}`}, table))
  }

  // -- messages of the kernel

  receive(message, buffers) {
    if (message.type === "plotly") return void receivePlotly(buffers[0])
    if (message.type === "message") return this.showMessage(message.text, message.is_error)
    if (message.type === "ended") return void setTimeout(() => replaceOutputs(this.model, this.root, message.outputs), 1000)
    const {status, columns, rows} = message
    if (message.reset) this.rows = []
    if (status && status.state !== this.status.state) this.showMessage("")
    if (status) this.status = {...status, receivedAt: Date.now()}
    if (columns) this.columns = columns
    for (const row of rows ?? []) {
      const at = this.rows.findIndex((r) => r.name === row.name)
      if (at < 0) this.rows.push(row)
      else this.rows[at] = row
    }
    this.update(message)
    this.showStatus()
    this.fill()
    this.draw()
  }

  showMessage(text, isError = false) {
    this.message.textContent = text
    this.message.classList.toggle("lmkit-bad", isError)
  }

  tick() {
    if (!this.plotly) requestPlotly(this.model)
    if (this.status.state === "running") this.showStatus()
  }

  // Shows the state, the progress and the non-empty `texts`.
  showProgress(...texts) {
    const {state, done, total} = this.status
    this.state.textContent = state
    this.state.dataset.state = state
    this.closeButton.hidden = state === "running"
    this.bar.value = total ? done / total : 0
    this.activity.textContent = texts.filter(Boolean).join(" · ")
  }

  remaining() {
    const {seconds_left: left, receivedAt} = this.status
    return left == null ? "" : `about ${duration(Math.round(Math.max(1, left - (Date.now() - receivedAt) / 1000)))} remaining`
  }

  // -- the table

  // Fills the table with the rows that pass `isVisible` and contain all words of the filter; `text` returns the searched texts.
  fillRows(isVisible, text, compare) {
    const key = JSON.stringify([this.columns, this.sort])
    if (key !== this.headKey) sortableHead(this.headRow, this.columns, this.sort, (sort) => ((this.sort = sort), this.fill()))
    this.headKey = key
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean)
    const searchText = (r) => [...text(r), ...r.cells.map((c) => c?.text ?? "")].join(" ").toLowerCase()
    const shown = this.rows.filter((r) => isVisible(r) && words.every((w) => searchText(r).includes(w)))
    if (this.sort.column >= 0) shown.sort(compare)
    const focused = this.body.contains(document.activeElement) && document.activeElement.dataset.name
    this.body.replaceChildren(...shown.flatMap((row) => this.lines(row)))
    if (focused) [...this.body.children].find((tr) => tr.tabIndex === 0 && tr.dataset.name === focused)?.focus()
    this.count.textContent = shown.length < this.rows.length ? `${shown.length} of ${this.rows.length} shown` : ""
  }

  // -- the charts

  // The colours of the theme.
  theme() {
    const style = getComputedStyle(this.root), value = (name, other) => style.getPropertyValue(name).trim() || other
    return {ink: value("--lmkit-ink", "#333"), rule: value("--lmkit-rule", "#ddd"), paper: value("--lmkit-paper", "#fff"),
      dark: document.body.dataset.jpThemeLight === "false"}
  }
}
