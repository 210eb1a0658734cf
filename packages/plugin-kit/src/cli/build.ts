import { buildPlugin } from '../build.ts'
import { print } from '../io.ts'

export async function build({ folder, source }: { folder: string; source: string }): Promise<boolean> {
  const { entry, bytes, renamed } = await buildPlugin(folder, source)
  if (renamed) print('the manifest has the name and the version of package.json now')
  print(`built ${entry}: ${bytes} bytes`)
  return true
}
