/** `muster storage`: what Muster has on its disk. */
import type { Command } from 'commander'
import { acting, openClient, subcommand, withProgress } from './context.ts'
import { bold, bytes, printJson, printTable, say } from './io.ts'

export function storageCommand(): Command {
  return subcommand('storage', 'show what the daemon has on its disk, by kind')
    .option('--json', 'as JSON')
    .action(
      acting(async (_args: [], { json }: { json?: true }, command: Command) => {
        const facts = await withProgress('the files are counted', (await openClient(command)).storage())
        if (json === true) {
          printJson(facts)
          return undefined
        }
        const { store, folders, rows, disk } = facts
        const sizes = [
          { what: 'store', size: store.bytes, note: `${bytes(store.freeBytes)} of it free inside` },
          ...Object.entries(folders).map(([what, size]) => ({ what, size, note: undefined })),
        ]
        await printTable(
          sizes,
          [
            { title: 'WHAT', styled: true, of: (one) => bold(one.what) },
            { title: 'SIZE', of: (one) => bytes(one.size) },
            { title: 'NOTE', of: (one) => one.note },
          ],
          'there is nothing',
        )
        say(
          Object.entries(rows)
            .map(([table, count]) => `${count} ${table}`)
            .join(', '),
        )
        say(`${bytes(disk.free)} of ${bytes(disk.total)} are free on its disk; retention in muster.yaml says what is kept`)
        return undefined
      }),
    )
}
