// Displays the elements of a form (lmkit.widgets.elements), and sends what is entered and clicked.
//
// Kernel → page: {type: "update", elements: {id: changed properties}, answered}.
// Page → kernel: "ready" (send what has changed since the widget was made), "input" {values: {id: value}}, "click" {click, values}.

const WAIT = 10000 // milliseconds after which the page no longer waits for the answer to an input

// Each constructor returns the node of an element, and update(properties), which takes the properties that have changed.
const KINDS = {
  html: () => {
    const node = element("div", {class: "lke-html"})
    return {node, update: ({value}) => value !== undefined && (node.innerHTML = value)}
  },
  box: (view) => container(view, "lke-box"),
  row: (view) => container(view, "lke-row"),

  tabs: (view) => {
    const bar = element("div", {class: "lke-tabs", role: "tablist"}), panels = element("div", {class: "lke-panels"})
    let selected = 0
    const select = (index) => {
      selected = index
      ;[...bar.children].forEach((tab, i) => tab.setAttribute("aria-pressed", String(i === index)))
      ;[...panels.children].forEach((panel, i) => panel.classList.toggle("lke-hidden", i !== index))
    }
    return {node: element("div", {class: "lke-box"}, bar, panels), update: ({titles, tooltips, children}) => {
      if (titles) bar.replaceChildren(...titles.map((title, i) =>
        element("button", {type: "button", title: tooltips?.[i] ?? "", onclick: () => select(i)}, title)))
      if (children) place(panels, children.map((id) => view.nodes[id].node))
      select(selected)
    }}
  },

  text: (view, id) => {
    const input = element("input", {type: "text", spellcheck: "false", autocomplete: "off", oninput: () => view.set(id, input.value)})
    const list = element("datalist", {id: view.uid(id, "list")})
    return labelled(view, id, input, (changed) => {
      if (changed.placeholder !== undefined) input.placeholder = changed.placeholder
      if (changed.options) {
        list.replaceChildren(...changed.options.map((value) => element("option", {value})))
        if (!list.parentElement) input.after(list)
        input.setAttribute("list", list.id)
      }
      view.show(id, changed, input, "value")
    })
  },
  checkbox: (view, id) => {
    const input = element("input", {type: "checkbox", onchange: () => view.set(id, input.checked)})
    const field = labelled(view, id, input, (changed) => view.show(id, changed, input, "checked"))
    field.node.classList.add("lke-check")
    return field
  },
  dropdown: (view, id) => {
    const select = element("select", {onchange: () => view.set(id, select.selectedIndex)})
    return labelled(view, id, select, (changed) => {
      if (changed.labels) {
        const index = select.selectedIndex
        select.replaceChildren(...changed.labels.map((label) => element("option", {}, label)))
        select.selectedIndex = index
      }
      view.show(id, changed, select, "selectedIndex")
    })
  },
  buttons: (view, id) => {
    const group = element("div", {class: "lke-group", role: "group"})
    const press = (index) => [...group.children].forEach((b, i) => b.setAttribute("aria-pressed", String(i === index)))
    return labelled(view, id, group, ({labels, value}) => {
      if (labels) group.replaceChildren(...labels.map((label, i) =>
        element("button", {type: "button", onclick: () => (press(i), view.set(id, i))}, label)))
      if (value !== undefined && !(id in view.pending)) press(value)
    })
  },
  button: (view, id) => pressable(element("button", {type: "button", onclick: () => view.click(id)})),
  toggle: (view, id) => {
    let pressed = false
    const button = pressable(element("button", {type: "button", class: "lke-toggle", onclick: () => view.set(id, !pressed)}), ({value}) => {
      if (value === undefined) return
      pressed = value
      button.node.setAttribute("aria-expanded", String(value))
    })
    return button
  },
}

function container(view, css) {
  const node = element("div", {class: css})
  return {node, update: ({children}) => children && place(node, children.map((id) => view.nodes[id].node))}
}

function pressable(node, update = () => {}) {
  return {node, update: (changed) => {
    if (changed.description !== undefined) node.textContent = changed.description
    if (changed.tooltip !== undefined) node.title = changed.tooltip
    if (changed.disabled !== undefined) node.disabled = changed.disabled
    update(changed)
  }}
}

// A control with its label before it; without one, its tooltip is its name.
function labelled(view, id, control, update) {
  control.id = view.uid(id, "control")
  const label = element("label", {class: "lke-label", for: control.id})
  return {node: element("div", {class: "lke-field"}, label, control), update: ({description, tooltip, disabled, ...changed}) => {
    if (description !== undefined) {
      label.textContent = description
      label.hidden = !description
      if (control.role === "group") control.setAttribute("aria-label", description)
    }
    if (tooltip !== undefined) {
      label.title = tooltip
      if (label.hidden) control.setAttribute("aria-label", tooltip)
    }
    if (disabled !== undefined) control.disabled = disabled
    update(changed)
  }}
}

// Makes `children` the children of a node; those that stay are not moved, and keep the focus.
function place(node, children) {
  const wanted = new Set(children)
  for (const child of [...node.children]) if (!wanted.has(child)) child.remove()
  let next = node.firstChild
  for (const child of children) {
    if (child === next) next = next.nextSibling
    else node.insertBefore(child, next)
  }
}

let views = 0

class View {
  constructor(model, el) {
    Object.assign(this, {model, nodes: {}, pending: {}, waiting: 0, number: views++})
    this.root = element("div", {class: "lmkit-configurator", role: "group", "aria-label": model.get("label"),
      "data-lm-suppress-shortcuts": "true", onkeydown: forwardShortcuts})
    this.apply(model.get("elements"))
    this.root.append(this.nodes[model.get("root_id")].node, (this.note = element("div", {class: "lkc-problem", role: "alert"})))
    el.append(this.root)
    this.model.on("msg:custom", (this.onMessage = (message) => this.receive(message)))
    this.attaching = requestAnimationFrame(() => letStick(this.root))
    this.send({type: "ready"})
  }

  close() {
    cancelAnimationFrame(this.attaching)
    this.model.off("msg:custom", this.onMessage)
  }

  uid(id, part) {
    return `lke-${this.number}-${id}-${part}` // several views of a widget may be in one page
  }

  // Creates and changes elements; boxes are filled last, when all their children exist.
  apply(elements) {
    const changes = Object.entries(elements)
    for (const [id, {kind}] of changes) this.nodes[id] ??= KINDS[kind](this, id)
    for (const [id, changed] of changes) {
      const {node, update} = this.nodes[id]
      if (changed.classes) {
        node.classList.remove(...(this.nodes[id].classes ?? []))
        node.classList.add(...(this.nodes[id].classes = changed.classes))
      }
      if (changed.visible !== undefined) node.classList.toggle("lke-hidden", !changed.visible)
      update(changed)
    }
  }

  receive({type, elements, answered}) {
    if (type !== "update") return
    this.apply(elements)
    if (answered) this.waiting = 0
    this.push()
  }

  // Shows the value of a control, unless a newer one has been entered.
  show(id, {value}, control, property) {
    if (value !== undefined && value !== control[property] && !(id in this.pending)) control[property] = value
  }

  set(id, value) {
    this.pending[id] = value
    this.push()
  }

  // Sends what has been entered; while the kernel handles the last input, the next ones are collected.
  push() {
    if (!Object.keys(this.pending).length || Date.now() - this.waiting < WAIT) return
    if (this.send({type: "input", values: this.pending})) this.waiting = Date.now()
    this.pending = {}
  }

  click(id) {
    this.send({type: "click", click: id, values: this.pending})
    this.pending = {}
  }

  send(message) {
    try {
      this.model.send(message)
      return true
    } catch {
      this.note.textContent = "The kernel of this form has ended. Run the cell again."
      return false
    }
  }
}

// A sticky element sticks to the nearest ancestor that clips its content: of those between the form and the notebook's
// scrolling area, none may.
function letStick(root) {
  for (let node = root.parentElement; node && node !== document.body; node = node.parentElement) {
    const {overflowY} = getComputedStyle(node)
    if (overflowY !== "hidden" && node.scrollHeight > node.clientHeight + 1 && overflowY !== "visible") return
    if (overflowY !== "visible" && node.closest(".jp-OutputArea, .jp-Cell")) node.style.overflow = "clip"
  }
}

export default {
  render({model, el}) {
    const view = new View(model, el)
    return () => view.close()
  },
}
