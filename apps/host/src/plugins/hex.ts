/** Of the name of a folder of a store; undefined: it is none. */
export function sha512OfHex(hex: string): string | undefined {
  return /^[0-9a-f]{128}$/.test(hex) ? `sha512-${Buffer.from(hex, 'hex').toString('base64')}` : undefined
}

/** The digest in hex: the name of the folder of these bytes in a store. */
export function hexOf(sha512: string): string {
  return Buffer.from(sha512.replace(/^sha512-/, ''), 'base64').toString('hex')
}
