/** Who vouches for a version of a plugin by a signature, as it is demanded, found and locked. */
/** Who has signed. */
export interface Signer {
  /** That has told the authority who signs, as `https://token.actions.githubusercontent.com`. */
  issuer: string
  /** As `https://github.com/acme/plugin`. */
  repository: string
  /** Its path in the repository, as `.github/workflows/release.yml`; the whole address where it is another repository's. */
  workflow: string
}

/** What was signed with which source. */
export interface Provenance extends Signer {
  /** As `refs/tags/v1.2.3`. */
  ref?: string
  commit?: string
}
