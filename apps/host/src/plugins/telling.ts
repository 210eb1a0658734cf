/** Of what a plugin wrote before it fell, the line that says most: Node ends every crash with its version, and a stack says where, not what. Pure. */
export function tellingLine(tail: readonly string[]): string | undefined {
  const said = tail.filter((line) => !/^(Node\.js v|\s+at |\s*$|\s*[}^{])/.test(line))
  return said.findLast((line) => /[Ee]rror/.test(line)) ?? said.at(-1)
}
