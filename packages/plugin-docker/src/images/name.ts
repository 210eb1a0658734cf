/** Names of images: `[registry/]path[:tag][@digest]`. Source: the OCI distribution spec and Docker's reference grammar. Pure. */

const domain =
  /(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:]+\])(?::\d+)?/
const part = /[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*/
const reference = new RegExp(
  `^(?:${domain.source}/)?${part.source}(?:/${part.source})*(?::\\w[\\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9+._-]*:[0-9A-Fa-f]+)?$`,
)
/** A name has at most 255 characters, a tag 128, a digest in use 71 (`sha512`: 135). */
const LONGEST = 520

/** Is it the name of an image? Any other text could be another path of the engine. */
export function isImageName(image: string): boolean {
  return image.length <= LONGEST && reference.test(image)
}

/** An image's name in the parts that a pull wants. Without tag and digest it is `latest`: an engine would pull every tag. */
export function pullQuery(image: string): { fromImage: string; tag: string } {
  const { name, tag = 'latest', digest } = partsOf(image)
  return digest === undefined ? { fromImage: name, tag } : { fromImage: name, tag: digest }
}

export interface ImageParts {
  /** Without tag and digest. */
  name: string
  tag?: string
  /** As `sha256:…`. */
  digest?: string
}

export function partsOf(image: string): ImageParts {
  const at = image.indexOf('@')
  const digest = at < 0 ? {} : { digest: image.slice(at + 1) }
  const rest = at < 0 ? image : image.slice(0, at)
  // A colon before the last slash belongs to the registry's port.
  const colon = rest.indexOf(':', rest.lastIndexOf('/') + 1)
  return colon < 0 ? { name: rest, ...digest } : { name: rest.slice(0, colon), tag: rest.slice(colon + 1), ...digest }
}

/** The registry that an image is in: `docker.io` where its name has none. */
export function registryOf(image: string): string {
  const [first = '', ...more] = image.split('/')
  return more.length > 0 && (/[.:]/.test(first) || first === 'localhost') ? first : 'docker.io'
}

/** With the registry, and Docker Hub's folder for what stands in none. */
function fullName(image: string): string {
  if (registryOf(image) !== 'docker.io') return image
  const path = image.replace(/^(?:index\.)?docker\.io\//, '')
  return path.includes('/') ? `docker.io/${path}` : `docker.io/library/${path}`
}

/** One way of writing a name, however it was written: with registry, and with digest or tag. */
export function canonical(image: string): string {
  const { name, tag = 'latest', digest } = partsOf(fullName(image))
  return digest === undefined ? `${name}:${tag}` : `${name}@${digest}`
}

/** Where an image is pulled from: the first of these beginnings that its name has, replaced. */
export function mirrored(image: string, mirrors: readonly (readonly [from: string, to: string])[]): string {
  const full = fullName(image)
  for (const [from, to] of mirrors)
    if (full.startsWith(from) && /^[/:@]/.test(full.slice(from.length))) return `${to}${full.slice(from.length)}`
  return image
}

/** The name that a container is made from: a digest cannot be given to another name, so that the mirror's stays. */
export function nameHere(image: string, mirrors: readonly (readonly [from: string, to: string])[]): string {
  return image.includes('@') ? mirrored(image, mirrors) : image
}
