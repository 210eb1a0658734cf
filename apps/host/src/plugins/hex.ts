/** The digest in hex: the name of the folder of these bytes in a store. */
export function hexOf(sha512: string): string {
  return Buffer.from(sha512.replace(/^sha512-/, ''), 'base64').toString('hex')
}
