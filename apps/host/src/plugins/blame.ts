/** Whose fault it is that a plugin cannot start: only its own is one that another version may not have. */

/** What systems, SDKs and people say where the vendor is away or refuses rights; a plugin that does not tell them apart passes them on. */
const vendors =
  /ECONN(REFUSED|RESET|ABORTED)|ENOTFOUND|EAI_(AGAIN|FAIL)|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EPIPE|ENOENT: .*\.sock|fetch failed|socket hang up|time[d -]*out|certificate|\b(401|403|407|429|50[234])\b|unauthori[sz]ed|forbidden|access ?denied|credential/i

/** In doubt it is the vendor's. */
export function isVendors(said: readonly string[]): boolean {
  return said.some((line) => vendors.test(line))
}
