/** What is in a packed package, as the content store takes it: plain files only. */
import { ArchiveFault, filesOf as read } from '@muster/packed/archive'
import { PluginRefusal } from './refusal.ts'
import { authorTool } from '@muster/packed/refusals'

/** Error: PluginRefusal `bad-archive`. */
export async function filesOf(tarball: Uint8Array): Promise<Map<string, Buffer>> {
  try {
    return await read(tarball)
  } catch (error) {
    if (!(error instanceof ArchiveFault)) throw error
    throw new PluginRefusal(
      'bad-archive',
      `the tarball is refused: ${error.message}`,
      `run: ${authorTool} pack, as its author, in the folder of the plugin`,
    )
  }
}
