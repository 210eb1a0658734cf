/** What the sample's tests look at, and what they do not. */
export function clamp(value: number, most: number): number {
  if (value > most) return most
  if (value < 0) return 0
  return value
}

export function untested(value: number): number {
  return value + 1
}
