/** One arm is reached by the parent process only, one by its child only, one by neither. */
export function arm(name: string, scale: number = 1): number {
  if (name === 'parent') return scale * 2
  if (name === 'child') {
    const twice = scale * 4
    return name.length > 3 && scale > 1 ? twice : scale
  }
  return 0
}

const [, script, name] = process.argv
if (script === import.meta.filename && name !== undefined) process.stdout.write(String(arm(name, 3)))
