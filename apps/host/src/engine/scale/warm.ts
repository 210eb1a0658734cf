/** How many workers a pool keeps without anybody asking. Pure. */

export interface Stock {
  min: number
  max: number
  warm: number
  /** All live workers, ending ones too. */
  total: number
  /** Terminating and draining, cordoned and kept: they count against `max`, but not towards `min`. */
  leaving: number
  /** Idle workers of the pool's own shape, and such that are on their way without a lease. */
  idle: number
  coming: number
}

/** Workers to launch for stock: up to `warm` free ones and `min` in all, as far as `max` leaves room. */
export function missing(stock: Stock): number {
  const forWarm = stock.warm - stock.idle - stock.coming
  const forMin = stock.min - (stock.total - stock.leaving)
  return Math.max(0, Math.min(Math.max(forWarm, forMin), stock.max - stock.total))
}

/** Idle workers that could go: beyond `warm` free ones and `min` in all. */
export function surplus(stock: Stock): number {
  const overWarm = stock.idle + stock.coming - stock.warm
  const overMin = stock.total - stock.leaving - stock.min
  return Math.max(0, Math.min(overWarm, overMin, stock.idle))
}
