import { units } from './units.js'

/** Text as `1h 30m` of milliseconds; `parts` limits how many units are shown, the rest is cut. */
export function format(milliseconds, { parts = units.length } = {}) {
  if (!Number.isFinite(milliseconds) || milliseconds < 0) throw new RangeError(`no duration: ${milliseconds}`)
  let rest = Math.round(milliseconds)
  const shown = []
  for (const [name, length] of units) {
    if (shown.length === parts) break
    const count = Math.floor(rest / length)
    if (count === 0) continue
    shown.push(`${count}${name}`)
    rest -= count * length
  }
  return shown.length === 0 ? '0s' : shown.join(' ')
}

/** `in 2h` or `3m ago`, seen from `now`. */
export function relative(date, now) {
  const difference = date.getTime() - now.getTime()
  const text = format(Math.abs(difference), { parts: 1 })
  return difference < 0 ? `${text} ago` : `in ${text}`
}
