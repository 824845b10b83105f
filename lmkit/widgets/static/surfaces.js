// Surfaces, update rules and paths, without a kernel: the same as lmkit.surfaces computes, from the same coefficients.

// -- surfaces ------------------------------------------------------------------------------------

// The terms [c, i, j] of the derivative of a polynomial by its first (1) or second (2) variable.
const derivative = (terms, axis) =>
  terms.filter((t) => t[axis]).map((t) => [t[0] * t[axis], t[1] - (axis === 1 ? 1 : 0), t[2] - (axis === 2 ? 1 : 0)])

// J = φ(s Σ rᵢ²) with polynomial residuals rᵢ; `rows` are those that count, where each residual is a row of data.
class SquaresSurface {
  constructor(data, {condition = data.condition, rows = null} = {}) {
    Object.assign(this, {data, condition, window: data.window, flat: data.flat})
    this.rows = rows ?? data.residuals.map((_, i) => i)
    this.scale = data.rows ? 1 / this.rows.length : data.scale
    this.residuals = data.residuals.map(({terms, stretched}) => {
      const factor = stretched && condition ? Math.sqrt(condition) : 1
      const values = terms.map(([c, i, j]) => [c * factor, i, j]), first = [derivative(values, 1), derivative(values, 2)]
      return [values, ...first, derivative(first[0], 1), derivative(first[0], 2), derivative(first[1], 2)]
    })
    const highest = (axis) => Math.max(...this.residuals.flatMap((r) => r[0].map((t) => t[axis])))
    this.xs = new Float64Array(highest(1) + 1).fill(1)
    this.ys = new Float64Array(highest(2) + 1).fill(1)
    this.minimum = data.rows ? this.solve() : data.minimum
    this.largestCurvature = this.minimum ? this.curvatures(this.minimum)[1] : null
  }

  at(x, y) {
    for (let i = 1; i < this.xs.length; i++) this.xs[i] = this.xs[i - 1] * x
    for (let j = 1; j < this.ys.length; j++) this.ys[j] = this.ys[j - 1] * y
  }

  value(terms) {
    let sum = 0
    for (const [c, i, j] of terms) sum += c * this.xs[i] * this.ys[j]
    return sum
  }

  loss(x, y) {
    this.at(x, y)
    let q = 0
    for (const row of this.rows) q += this.value(this.residuals[row][0]) ** 2
    q *= this.scale
    return this.flat ? q / (1 + q) : q
  }

  outerSlope(q) {
    return this.flat ? 1 / (1 + q) ** 2 : 1
  }

  gradient([x, y], rows = this.rows) {
    this.at(x, y)
    const scale = this.data.rows ? 1 / rows.length : this.scale
    let q = 0, gx = 0, gy = 0
    for (const row of rows) {
      const [values, byX, byY] = this.residuals[row], r = this.value(values)
      q += r * r
      gx += r * this.value(byX)
      gy += r * this.value(byY)
    }
    const outer = 2 * scale * this.outerSlope(scale * q)
    return [outer * gx, outer * gy]
  }

  // The Hessian [h₁₁, h₁₂, h₂₂] at a stationary point.
  hessian([x, y]) {
    this.at(x, y)
    const h = [0, 0, 0]
    let q = 0
    for (const row of this.rows) {
      const [r, r1, r2, r11, r12, r22] = this.residuals[row].map((terms) => this.value(terms))
      q += r * r
      h[0] += r1 * r1 + r * r11
      h[1] += r1 * r2 + r * r12
      h[2] += r2 * r2 + r * r22
    }
    return h.map((v) => 2 * this.scale * this.outerSlope(this.scale * q) * v)
  }

  curvatures(point) {
    const [a, b, c] = this.hessian(point), mean = (a + c) / 2, half = Math.hypot((a - c) / 2, b)
    return [mean - half, mean + half]
  }

  // The minimum of a linear regression; null where the rows do not determine one.
  solve() {
    const [a, b, c] = this.hessian([0, 0]), [gx, gy] = this.gradient([0, 0]), determinant = a * c - b * b
    return determinant > 1e-12 * a * c ? [(b * gy - c * gx) / determinant, (b * gx - a * gy) / determinant] : null
  }
}

// Losses on an equidistant grid, interpolated by cubic convolution (Keys, 1981).
class GridSurface {
  constructor(data) {
    const extend = (rows) => {
      const line = (a, b) => a.map((v, k) => 2 * v - b[k]), n = rows.length
      return [line(rows[0], rows[1]), ...rows, line(rows[n - 1], rows[n - 2])]
    }
    const turn = (rows) => rows[0].map((_, i) => rows.map((row) => row[i]))
    const sizes = [data.losses[0].length, data.losses.length]
    Object.assign(this, {data, sizes, window: data.window, minimum: data.minimum, rows: [], padded: turn(extend(turn(extend(data.losses))))})
    this.steps = data.window.map(([low, high], k) => (high - low) / (sizes[k] - 1))
    const axes = data.window.map(([low], k) => Array.from({length: sizes[k]}, (_, i) => low + i * this.steps[k]))
    const curvature = Math.max(...axes[0].flatMap((x) => axes[1].map((y) => this.curvatures([x, y])[1])))
    this.largestCurvature = curvature > 0 ? curvature : null
  }

  // J and its two derivatives.
  interpolate(point) {
    const first = [], values = [], slopes = []
    point.forEach((position, k) => {
      const u = Math.min(Math.max(isFinite(position) ? (position - this.window[k][0]) / this.steps[k] : 0, 0), this.sizes[k] - 1)
      const i = Math.min(Math.floor(u), this.sizes[k] - 2), t = u - i
      first.push(i)
      values.push([((-0.5 * t + 1) * t - 0.5) * t, (1.5 * t - 2.5) * t * t + 1, ((-1.5 * t + 2) * t + 0.5) * t, (0.5 * t - 0.5) * t * t])
      slopes.push([(-1.5 * t + 2) * t - 0.5, (4.5 * t - 5) * t, (-4.5 * t + 4) * t + 0.5, (1.5 * t - 1) * t].map((v) => v / this.steps[k]))
    })
    const sums = [0, 0, 0]
    for (let j = 0; j < 4; j++)
      for (let i = 0; i < 4; i++) {
        const v = this.padded[first[1] + j][first[0] + i]
        sums[0] += values[1][j] * values[0][i] * v
        sums[1] += values[1][j] * slopes[0][i] * v
        sums[2] += slopes[1][j] * values[0][i] * v
      }
    return sums
  }

  loss(x, y) {
    return this.interpolate([x, y])[0]
  }

  gradient(point) {
    return this.interpolate(point).slice(1)
  }

  curvatures([x, y]) {
    const [hx, hy] = this.steps.map((v) => v / 2), difference = (a, b, step) => this.gradient(a).map((v, k) => (v - this.gradient(b)[k]) / step)
    const [a, b1] = difference([x + hx, y], [x - hx, y], 2 * hx), [b2, c] = difference([x, y + hy], [x, y - hy], 2 * hy)
    const mean = (a + c) / 2, half = Math.hypot((a - c) / 2, (b1 + b2) / 2)
    return [mean - half, mean + half]
  }
}

const SURFACE_KINDS = {squares: SquaresSurface, grid: GridSurface}

const makeSurface = (data, options) => new SURFACE_KINDS[data.kind](data, options)

// -- update rules: gradient and α → how far the weights move, and the part of it that is not −α∇J ------------------------------------

const RULES = {
  sgd: () => (g, lr) => g.map((v) => -lr * v),
  momentum: (mu) => velocityRule(mu, (g, v) => v),
  nesterov: (mu) => velocityRule(mu, (g, v) => g + mu * v),
  adam: (beta1, constants) => adamRule(beta1, constants, 0),
  adamw: (beta1, constants) => adamRule(beta1, constants, constants.weight_decay),
}

function velocityRule(mu, direction) {
  const velocity = [0, 0]
  return (g, lr) => g.map((v, k) => ((velocity[k] = mu * velocity[k] + v), -lr * direction(v, velocity[k])))
}

function adamRule(beta1, {beta2, epsilon}, decay) {
  const mean = [0, 0], square = [0, 0]
  let t = 0
  return (g, lr, point) => {
    t++
    return g.map((v, k) => {
      mean[k] = beta1 * mean[k] + (1 - beta1) * v
      square[k] = beta2 * square[k] + (1 - beta2) * v ** 2
      const root = Math.sqrt(square[k] / (1 - beta2 ** t))
      return -lr * decay * point[k] - (lr * (mean[k] / (1 - beta1 ** t))) / (root + epsilon)
    })
  }
}

// -- paths ---------------------------------------------------------------------------------------

// Numbers between 0 and 1 (Park and Miller, 1993).
function uniforms(seed, {modulus, multiplier}) {
  let state = ((((seed % (modulus - 1)) + 1) * multiplier) % modulus)
  return () => (state = (state * multiplier) % modulus) / modulus
}

// Batches of rows without end: every epoch all rows in a new order (Fisher and Yates, 1938).
function* rowBatches(rows, size, draw) {
  const order = [...rows]
  for (;;) {
    for (let last = order.length - 1; last > 0; last--) {
      const other = Math.floor(draw() * (last + 1))
      ;[order[last], order[other]] = [order[other], order[last]]
    }
    for (let first = 0; first < order.length; first += size) yield order.slice(first, first + size)
  }
}

// The path of the optimizer `name`: points, losses, gradient norms, the gradient of every step, how it ended and why.
function descend(surface, name, {lr, momentum, start, steps, noise = 0, batch = 0, seed = 0}, constants) {
  const rule = RULES[name](momentum, constants), draw = uniforms(seed, constants)
  const normal = () => {
    let sum = 0
    for (let i = 0; i < constants.uniforms; i++) sum += draw()
    return sum - constants.uniforms / 2
  }
  const batches = batch && batch < surface.rows.length && surface.data.rows ? rowBatches(surface.rows, batch, draw) : null
  const path = {name, points: [], losses: [], norms: [], gradients: [], state: "", reason: ""}
  let point = [...start]
  for (;;) {
    let gradient = surface.gradient(point)
    path.points.push(point)
    path.losses.push(surface.loss(...point))
    path.norms.push(Math.hypot(...gradient))
    Object.assign(path, ending(surface, path, steps, constants))
    if (path.state) return path
    if (batches) gradient = surface.gradient(point, batches.next().value)
    if (noise) gradient = gradient.map((v) => v + noise * normal())
    path.gradients.push(gradient)
    const moves = rule(gradient, lr, point)
    point = point.map((v, k) => v + moves[k])
  }
}

function ending(surface, {points, losses, norms}, steps, {tolerance, tolerance_text: limit}) {
  const {escape} = surface.data, t = points.length - 1, point = points[t], after = `after ${t} step${t === 1 ? "" : "s"}`
  if (!isFinite(losses[t]) || !isFinite(norms[t])) return {state: "diverged", reason: `diverged ${after}: J overflows`}
  if (surface.window.some(([low, high], k) => Math.abs(point[k] - (low + high) / 2) > (escape * (high - low)) / 2))
    return {state: "diverged", reason: escape === 1 ? `left the window ${after}: what lies beyond is unknown` : `diverged ${after}: θ is outside ${escape} times the window`}
  if (norms[t] <= tolerance) {
    if (surface.curvatures(point)[0] < 0) return {state: "saddle", reason: `stopped ${after} at a saddle point: ‖∇J‖ ≤ ${limit}`}
    return {state: "converged", reason: `converged ${after}: ‖∇J‖ ≤ ${limit}`}
  }
  return t >= steps ? {state: "steps", reason: `all ${t} steps taken`} : {}
}

// The largest α with which an optimizer converges in a direction of curvature L; null for Adam.
function largestStableRate(name, curvature, momentum) {
  const factor = {sgd: 1, momentum: 1 + momentum, nesterov: (1 + momentum) / (1 + 2 * momentum)}[name]
  return factor && curvature ? (2 * factor) / curvature : null
}

export {descend, largestStableRate, makeSurface}
