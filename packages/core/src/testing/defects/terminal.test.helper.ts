/** Defects of terminals. */
import { type Defect, hearingOnly, whole } from './defect.test.helper.ts'

const capabilities: Defect['capabilities'] = { exec: { reattach: true, stdin: true, tty: true, exitCode: true } }

export const terminalDefects: readonly Defect[] = [
  {
    name: 'a terminal that cannot be had is not refused',
    caughtBy: 'exec gives a terminal or refuses it',
    wrap: (provider) => ({ exec: (target, { tty: _tty, ...command }, call) => whole(provider).exec(target, command, call) }),
  },
  {
    name: 'a terminal that is declared is not given',
    caughtBy: 'exec gives a terminal or refuses it',
    capabilities,
    wrap: (provider) => ({
      exec: (target, { tty, ...command }, call) =>
        whole(provider).exec(target, command.stdin && tty !== undefined ? { ...command, tty } : command, call),
    }),
  },
  {
    name: 'another size of a terminal is not passed on',
    caughtBy: 'a terminal has the size that was asked for, and the command hears of another one',
    capabilities,
    wrap: () => ({ execResize: () => Promise.resolve() }),
  },
  {
    name: 'Ctrl-C does not come through',
    caughtBy: 'what is typed at a terminal goes to what runs there: Ctrl-C as an interrupt, the end of the input as its end',
    capabilities,
    wrap: (provider) => ({
      exec(target, { input, ...command }, call) {
        async function* without(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
          for await (const chunk of source) yield chunk.filter((byte) => byte !== 3)
        }
        return whole(provider).exec(target, input === undefined ? command : { ...command, input: without(input) }, call)
      },
    }),
  },
  {
    name: 'a terminal stays when its call is given up',
    caughtBy: 'a terminal that nobody holds any more hangs up',
    capabilities,
    wrap: (provider) => ({
      exec: (target, command, call) =>
        whole(provider).exec(target, command, command.tty === undefined ? call : hearingOnly(call, 'nothing')),
    }),
  },
]
