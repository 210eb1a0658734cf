/** What can be wrong with a package itself, by codes that stay: an author's tools say them as a host does. */

/** The author's tools, by the package that they come in: by their own name alone, npx would run whoever's package has it. */
export const authorTool = 'npx -p @muster/plugin-kit muster-plugin'

/** Every code, and what it says. No host takes such a one. */
export const packageRefusals = {
  'bad-archive': 'The archive holds what no plugin may have, or is none.',
  'bad-package': 'Its package.json is missing, or is none.',
  'no-manifest': 'It has no plugin manifest.',
  'bad-manifest': 'Its manifest is none that this host can read.',
  'other-manifest': 'Its manifest says another name or version than its package.json.',
  'other-contract': 'It speaks no contract that this host speaks.',
  'no-entry': 'The file that would run is not in the package.',
  outside: 'A path in it leads out of the package.',
  dependencies: 'It needs other packages at run time, and no host installs any.',
  native: 'It has native code, which no permission holds.',
} as const

export type PackageRefusal = keyof typeof packageRefusals

/** What only its author is told: a host would take it, and it would not work, or nobody could use it. */
export const authorFindings = {
  'bad-json': 'A file is no JSON.',
  'lifecycle-script': 'npm would run a script of it where it is installed; no host does.',
  'no-license': 'Nobody is allowed to use it.',
  'no-module': 'Node would take its files for CommonJS.',
  'foreign-import': 'What runs asks for a package that is not in it.',
  'bad-files': "'files' of its package.json does not say what is packed.",
} as const

export type FindingCode = PackageRefusal | keyof typeof authorFindings
