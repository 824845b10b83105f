// What the player of gradient descent shows: the map with the paths, the losses, the data, its controls and numbers.

// -- colours -------------------------------------------------------------------------------------

const channels = (colour) => {
  const probe = (page.probe ??= document.createElement("canvas").getContext("2d", {willReadFrequently: true}))
  probe.fillStyle = "#fff"
  probe.fillStyle = colour
  probe.fillRect(0, 0, 1, 1)
  return [...probe.getImageData(0, 0, 1, 1).data.slice(0, 3)]
}
const mix = (a, b, share) => a.map((v, k) => v + (b[k] - v) * share)

function theme(view) {
  const style = getComputedStyle(view.root), value = (name) => style.getPropertyValue(`--lmkit-${name}`).trim()
  const dark = document.body.dataset.jpThemeLight === "false"
  return {
    dark, ink: value("ink") || "#333", soft: value("soft") || "#666", paper: value("paper") || "#fff", rule: value("rule") || "#ddd", bad: value("bad"),
    line: (colour) => (dark ? DARK[colour] ?? colour : colour),
  }
}

// -- the map -------------------------------------------------------------------------------------

// J over the window as a share of its logarithmic range, from 0 at the lowest to 1; in a grid that is interpolated.
function heights(surface, n) {
  const [wx, wy] = surface.window, values = new Float64Array(n * n)
  let low = surface.minimum ? surface.loss(...surface.minimum) : Infinity, high = -Infinity
  for (let j = 0; j < n; j++)
    for (let i = 0; i < n; i++) {
      const v = surface.loss(wx[0] + ((wx[1] - wx[0]) * i) / (n - 1), wy[0] + ((wy[1] - wy[0]) * j) / (n - 1))
      values[j * n + i] = v
      if (v < low) low = v
      if (v > high && isFinite(v)) high = v
    }
  const offset = Math.max((high - low) * 2e-4, 1e-300), bottom = Math.log(offset), range = Math.log(high - low + offset) - bottom || 1
  return values.map((v) => (isFinite(v) ? (Math.log(Math.max(v - low, 0) + offset) - bottom) / range : 1))
}

function paintMap(surface, width, height, colours) {
  const n = surface.data.rows ? DATA_GRID : GRID, grid = heights(surface, n), image = new ImageData(width, height)
  const paper = channels(colours.paper), tint = colours.dark ? [62, 110, 146] : [118, 165, 196], edge = colours.dark ? [150, 185, 210] : [70, 115, 150]
  const shares = new Float32Array(width * height)
  for (let py = 0; py < height; py++) {
    const v = ((height - 1 - py) / (height - 1)) * (n - 1), j = Math.min(n - 2, Math.floor(v)), b = v - j
    for (let px = 0; px < width; px++) {
      const u = (px / (width - 1)) * (n - 1), i = Math.min(n - 2, Math.floor(u)), a = u - i, k = j * n + i
      shares[py * width + px] = (1 - b) * ((1 - a) * grid[k] + a * grid[k + 1]) + b * ((1 - a) * grid[k + n] + a * grid[k + n + 1])
    }
  }
  for (let py = 0; py < height; py++)
    for (let px = 0; px < width; px++) {
      const k = py * width + px, level = shares[k] * LEVELS
      const slope = Math.hypot((shares[px + 1 < width ? k + 1 : k - 1] - shares[k]) * LEVELS, (shares[py + 1 < height ? k + width : k - width] - shares[k]) * LEVELS)
      const near = slope > 1e-6 ? Math.max(0, 1 - Math.abs(level - Math.round(level)) / slope) : 0 // a line one pixel wide
      const colour = mix(mix(tint, paper, 0.15 + 0.85 * Math.floor(level) / LEVELS), edge, 0.5 * near * Math.min(1, 0.9 / slope))
      image.data.set([colour[0], colour[1], colour[2], 255], 4 * k)
    }
  const canvas = new OffscreenCanvas(width, height)
  canvas.getContext("2d").putImageData(image, 0, 0)
  return canvas
}

const MARGIN = {left: 44, right: 16, top: 8, bottom: 32}

// Axes with their ticks; returns the scales.
function axes(c, width, height, [wx, wy], [nameX, nameY], colours, grid = false) {
  const {left, right, top, bottom} = MARGIN, w = width - left - right, h = height - top - bottom
  const scales = {
    x: (v) => left + ((v - wx[0]) / (wx[1] - wx[0])) * w, y: (v) => top + (1 - (v - wy[0]) / (wy[1] - wy[0])) * h,
    fromX: (p) => wx[0] + ((p - left) / w) * (wx[1] - wx[0]), fromY: (p) => wy[0] + (1 - (p - top) / h) * (wy[1] - wy[0]),
    box: [left, top, w, h],
  }
  c.fillStyle = colours.soft
  c.strokeStyle = colours.rule
  c.lineWidth = 1
  c.textAlign = "center"
  c.textBaseline = "top"
  for (const v of ticks(wx, Math.max(3, w / 60))) {
    c.fillText(label(v), scales.x(v), top + h + 5)
    if (grid) polyline(c, [[scales.x(v), top], [scales.x(v), top + h]])
  }
  c.fillText(nameX, left + w / 2, top + h + 18)
  c.textAlign = "right"
  c.textBaseline = "middle"
  for (const v of ticks(wy, Math.max(3, h / 45))) {
    c.fillText(label(v), left - 6, scales.y(v))
    if (grid) polyline(c, [[left, scales.y(v)], [left + w, scales.y(v)]])
  }
  c.save()
  c.translate(9, top + h / 2)
  c.rotate(-Math.PI / 2)
  c.textAlign = "center"
  c.fillText(nameY, 0, 0)
  c.restore()
  return scales
}

function drawMap(view, colours) {
  const {c, width, height, ratio} = fit(view.map), {surface, state} = view
  const scales = (view.scales.map = axes(c, width, height, surface.window, view.surfaceData.axes, colours)), [left, top, w, h] = scales.box
  const key = `${Math.round(w * ratio)} ${Math.round(h * ratio)} ${colours.dark}`
  if (view.picture?.key !== key) view.picture = {key, image: paintMap(surface, Math.round(w * ratio), Math.round(h * ratio), colours)}
  c.drawImage(view.picture.image, left, top, w, h)
  c.save()
  c.beginPath()
  c.rect(left, top, w, h)
  c.clip()
  const at = ([x, y]) => [scales.x(x), scales.y(y)]
  if (surface.minimum) drawMark(c, at(surface.minimum), colours)
  if (view.surfaceData.trace?.length) { // the path of a run
    c.strokeStyle = colours.ink
    c.lineWidth = 1.5
    c.setLineDash([5, 4])
    polyline(c, view.surfaceData.trace.map(at))
    c.setLineDash([])
  }
  for (const {name, colour} of view.optimizers) {
    const path = view.paths.get(name)
    if (!path) continue
    const points = path.points.filter((p) => p.every((v) => Math.abs(v) < 1e9)).map(at), t = Math.min(view.t, points.length - 1)
    const draw = (stroke, line, some) => ((c.strokeStyle = stroke), (c.lineWidth = line), polyline(c, some))
    c.globalAlpha = 0.35
    draw(colours.line(colour), 1.2, points)
    c.globalAlpha = 1
    draw(colours.paper, 3.6, points.slice(0, t + 1))
    draw(colours.line(colour), 1.8, points.slice(0, t + 1))
    c.fillStyle = colours.line(colour)
    if (path.points.length <= 400) for (const [x, y] of points.slice(0, t + 1)) dot(c, x, y, 2)
    drawSteps(c, path, points, t, scales, state, colours.line(colour), colours)
  }
  const [sx, sy] = at(state.start)
  c.fillStyle = colours.paper
  c.strokeStyle = colours.ink
  c.lineWidth = 2
  dot(c, sx, sy, 6)
  c.stroke()
  c.restore()
}

function dot(c, x, y, radius) {
  c.beginPath()
  c.arc(x, y, radius, 0, 2 * Math.PI)
  c.fill()
}

function drawMark(c, [x, y], colours) {
  c.strokeStyle = colours.ink
  c.lineWidth = 1.5
  polyline(c, [[x - 5, y], [x + 5, y]])
  polyline(c, [[x, y - 5], [x, y + 5]])
}

// The point at the cursor, with −α∇J and what the optimizer adds to it: the velocity.
function drawSteps(c, path, points, t, scales, state, colour, colours) {
  const [x, y] = points[t], gradient = path.gradients[t], next = points[t + 1]
  c.fillStyle = c.strokeStyle = colour
  if (gradient && next) {
    const end = gradient.map((g, k) => path.points[t][k] - state.lr * g), tip = [scales.x(end[0]), scales.y(end[1])]
    for (const [stroke, width] of [[colours.paper, 4.5], [colour, 2.2]]) {
      c.lineWidth = width
      c.fillStyle = c.strokeStyle = stroke
      arrow(c, [x, y], tip, false)
      if (path.name !== "sgd") arrow(c, path.name.startsWith("adam") ? [x, y] : tip, next, true)
    }
  }
  c.fillStyle = colour
  c.strokeStyle = colours.paper
  c.lineWidth = 1.5
  dot(c, x, y, 5)
  c.stroke()
}

// -- the losses ----------------------------------------------------------------------------------

function drawCurve(view, colours) {
  const {c, width, height} = fit(view.curve), {left, right, top, bottom} = MARGIN, w = width - left - right, h = height - top - bottom
  const paths = [...view.paths.values()], start = Math.max(view.surface.loss(...view.state.start), FLOOR)
  const values = paths.flatMap((p) => p.losses).filter((v) => v > 0 && isFinite(v) && v < 1e4 * start)
  let low = Math.log10(Math.max(FLOOR, Math.min(start, ...values))), high = Math.log10(Math.max(start, ...values))
  if (high - low < 0.5) (low -= 0.25), (high += 0.25)
  const pad = 0.04 * (high - low), scale = (v) => top + (1 - (v - low + pad) / (high - low + 2 * pad)) * h
  const y = (v) => scale(Math.log10(Math.max(v, 1e-300))), x = (t) => left + (t / view.length) * w
  view.scales.curve = {left, w}
  c.lineWidth = 1
  c.fillStyle = colours.soft
  c.strokeStyle = colours.rule
  c.textBaseline = "middle"
  c.textAlign = "right"
  const stride = Math.max(1, Math.ceil((high - low) / Math.max(2, h / 30)))
  const powers = []
  for (let k = Math.ceil(low - pad); k <= high + pad; k++) if (k % stride === 0) powers.push(k)
  const marks = powers.length > 1 ? powers.map((k) => [k, `10${superscript(k)}`]) : ticks([10 ** low, 10 ** high], 4).filter((v) => v > 0).map((v) => [Math.log10(v), text(v)])
  for (const [k, label] of marks) {
    polyline(c, [[left, scale(k)], [left + w, scale(k)]])
    c.fillText(label, left - 6, scale(k))
  }
  c.textAlign = "center"
  c.textBaseline = "top"
  for (const v of ticks([0, view.length], Math.max(3, w / 70))) if (Number.isInteger(v)) c.fillText(label(v), x(v), top + h + 5)
  c.fillText("step", left + w / 2, top + h + 18)
  c.save()
  c.beginPath()
  c.rect(left - 6, top - 6, w + 12, h + 12)
  c.clip()
  for (const {name, colour} of view.optimizers) {
    const path = view.paths.get(name)
    if (!path) continue
    const points = path.losses.map((v, t) => [x(t), isFinite(v) ? Math.max(-100, Math.min(y(v), height + 100)) : -100]), t = Math.min(view.t, points.length - 1)
    c.strokeStyle = c.fillStyle = colours.line(colour)
    c.lineWidth = 1.2
    c.globalAlpha = 0.35
    polyline(c, points)
    c.globalAlpha = 1
    c.lineWidth = 1.8
    polyline(c, points.slice(0, t + 1))
    dot(c, ...points[t], 4)
  }
  c.restore()
  c.strokeStyle = colours.soft
  c.lineWidth = 1
  c.setLineDash([3, 3])
  polyline(c, [[x(view.t), top], [x(view.t), top + h]])
  c.setLineDash([])
}

// -- the data ------------------------------------------------------------------------------------

function drawScatter(view, colours) {
  const {c, width, height} = fit(view.scatter), rows = view.surfaceData.residuals.map(({terms: [[a], , [b]]}) => [a, -b])
  const limits = (k) => {
    const values = rows.map((r) => r[k]), low = Math.min(...values), high = Math.max(...values), pad = 0.06 * (high - low || 1)
    return [low - pad, high + pad]
  }
  const window = [limits(0), limits(1)], scales = (view.scales.scatter = axes(c, width, height, window, ["x", "y"], colours, true)), [left, top, w, h] = scales.box
  c.save()
  c.beginPath()
  c.rect(left, top, w, h)
  c.clip()
  const line = ([slope, offset]) => polyline(c, window[0].map((v) => [scales.x(v), scales.y(slope * v + offset)]))
  if (view.surface.minimum) {
    c.strokeStyle = colours.soft
    c.lineWidth = 1.2
    c.setLineDash([4, 4])
    line(view.surface.minimum)
    c.setLineDash([])
  }
  for (const {name, colour} of view.optimizers) {
    const path = view.paths.get(name)
    if (!path) continue
    c.strokeStyle = colours.line(colour)
    c.lineWidth = 2
    line(path.points[Math.min(view.t, path.points.length - 1)])
  }
  rows.forEach(([x, y], i) => {
    c.fillStyle = view.removed.has(i) ? colours.paper : colours.ink
    c.strokeStyle = colours.ink
    c.lineWidth = 1
    c.globalAlpha = view.removed.has(i) ? 0.6 : 0.75
    dot(c, scales.x(x), scales.y(y), 4)
    c.stroke()
  })
  c.restore()
}

// -- controls and numbers ------------------------------------------------------------------------

// The settings in the controls, the marks of the largest stable α, and the call that shows the same.
function showControls(view) {
  const {state, inputs, surfaceData, surface, constants} = view
  const values = {...state, condition: state.condition ?? surfaceData.condition, batch: state.batch || surfaceData.rows}
  for (const [name, {range, field, to, node}] of Object.entries(inputs)) {
    if (node.hidden || values[name] == null) continue
    range.value = to(values[name])
    if (document.activeElement !== field || Number(field.value) !== values[name]) field.value = text(values[name])
  }
  const usesMomentum = state.optimizers.some((name) => name !== "sgd")
  inputs.momentum.node.classList.toggle("lmkit-unused", !usesMomentum)
  const stable = view.optimizers.filter((o) => state.optimizers.includes(o.name))
    .map((o) => ({...o, limit: largestStableRate(o.name, surface.largestCurvature, state.momentum)})).filter((o) => o.limit)
  inputs.lr.marks.replaceChildren(...stable.map(({name, title, colour, limit}) => {
    const share = inputs.lr.to(limit), formula = {sgd: "2/L", momentum: "2(1+β)/L", nesterov: "2(1+β)/((1+2β)L)"}[name]
    const help = `largest stable α of ${title}: ${formula} = ${number(limit, 3)}, with L = ${number(surface.largestCurvature, 3)}, the largest curvature ${surface.data.kind === "grid" ? "of the slice" : "at the minimum"}`
    const mark = element("span", {class: "lmkit-mark", title: help}, element("i", {}, "▴"), element("span", {}, `${formula} = ${number(limit, 2)}`))
    mark.style.setProperty("--share", share)
    mark.style.setProperty("--swatch", view.colours?.line(colour) ?? colour)
    mark.classList.toggle("lmkit-over", state.lr > limit)
    mark.classList.toggle("lmkit-leftward", share > 0.6)
    return mark
  }))
  view.scrubber.max = view.length
  view.code.textContent = codeLine(view)
}

function codeLine({state, surfaceData: s, removed}) {
  const list = (values) => `(${values.map(text).join(", ")})`
  const parts = [s.call || JSON.stringify(s.name), `lr=${text(state.lr)}`]
  const selected = state.optimizers
  if (!sameArray(selected, ["sgd"])) parts.push(`optimizers=[${selected.map((n) => JSON.stringify(n)).join(", ")}]`)
  if (selected.some((n) => n !== "sgd")) parts.push(`momentum=${text(state.momentum)}`)
  if (!sameArray(state.start, s.start)) parts.push(`start=${list(state.start)}`)
  if (state.steps !== s.steps) parts.push(`steps=${state.steps}`)
  if (state.condition != null && s.condition != null) parts.push(`condition=${text(state.condition)}`)
  if (state.noise) parts.push(`noise=${text(state.noise)}`)
  if (state.batch && state.batch < s.rows) parts.push(`batch=${state.batch}`)
  if (state.seed) parts.push(`seed=${state.seed}`)
  const without = [...removed].sort((a, b) => a - b).join(", ")
  return `lk.descent(${parts.join(", ")})${without ? `  # without rows ${without}` : ""}`
}

function drawPlayer(view) {
  hidePicture(view)
  view.scales ??= {}
  const colours = theme(view), changed = view.colours?.dark !== colours.dark
  view.colours = colours
  if (changed) showControls(view)
  drawMap(view, colours)
  drawCurve(view, colours)
  if (!view.data.hidden) drawScatter(view, colours)
  view.scrubber.value = view.t
  view.position.textContent = `step ${view.t} of ${view.length}`
  for (const {name, colour, box, cells, row} of view.rows) {
    const path = view.paths.get(name), t = path && Math.min(view.t, path.points.length - 1), ended = path && view.t >= path.points.length - 1
    box.checked = Boolean(path)
    row.style.setProperty("--swatch", colours.line(colour))
    row.classList.toggle("lmkit-off", !path)
    const texts = path ? [t, number(path.losses[t], 3), number(path.norms[t], 3), ended ? path.reason : ""] : ["", "", "", ""]
    cells.forEach((cell, i) => (cell.textContent = texts[i]))
    cells[3].dataset.state = ended ? path.state : ""
  }
}

// In a notebook, the picture of the saved document lies behind the player; while the player works, it is hidden.
function hidePicture(view) {
  const output = view.root.closest(".jp-OutputArea-child"), area = output?.parentElement, id = view.model.get("view_id")
  if (!area) return
  if (!view.outputs) {
    view.outputs = new MutationObserver(() => hidePicture(view))
    view.outputs.observe(area, {childList: true})
  }
  const isPicture = (cell) => Array.from({length: cell.outputs?.length ?? 0}, (_, i) => cell.outputs.get(i)).some((o) => o.metadata?.lmkit === id)
  const cells = view.model.widget_manager?.context?.model?.cells ?? []
  if (output.nextElementSibling && [...cells].some(isPicture)) output.nextElementSibling.style.display = "none"
}
