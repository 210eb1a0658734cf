/** Amounts as a cluster writes them: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/ Pure. */

const factors: Readonly<Record<string, number>> = {
  ...{ n: 1e-9, u: 1e-6, m: 1e-3, '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 },
  ...{ Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60 },
}

/** In its base unit, as cores or bytes; NaN for what is none. */
export function amountOf(quantity: string): number {
  const [, number = '', exponent, suffix = ''] = /^([+-]?[0-9.]+)(?:[eE]([+-]?\d+)|([a-zA-Z]{0,2}))$/.exec(quantity) ?? []
  const factor = exponent === undefined ? factors[suffix] : 10 ** Number(exponent)
  return number === '' || factor === undefined ? Number.NaN : Number(number) * factor
}
