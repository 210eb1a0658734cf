import { request } from 'node:https'
import { KubeConfig } from '@kubernetes/client-node'
import type { Api } from './client.ts'

export function interimApi(file: string, context?: string): Api {
  const kc = new KubeConfig()
  kc.loadFromFile(file)
  if (context !== undefined) kc.setCurrentContext(context)
  return {
    async json({ method, path, query = {}, body, signal }) {
      const options: any = {}
      await kc.applyToHTTPSOptions(options)
      const url = new URL(path, kc.getCurrentCluster()?.server)
      for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
      return await new Promise<any>((resolve, reject) => {
        const sent = request(url, { ...options, method, signal, headers: { ...options.headers, accept: 'application/json', ...(body ? { 'content-type': 'application/json' } : {}) } }, (answer) => {
          void answer.toArray().then((parts) => {
            const text = Buffer.concat(parts).toString()
            const data = JSON.parse(text)
            const status = answer.statusCode ?? 0
            if (status >= 400) reject(Object.assign(new Error(data.message), { status, reason: data.reason, sent: true, fields: data.details?.causes?.map((c: any) => c.field) }))
            else resolve(data)
          }, reject)
        })
        sent.on('error', (error) => reject(error.name === 'AbortError' ? error : Object.assign(error, { sent: true })))
        sent.end(body === undefined ? undefined : JSON.stringify(body))
      })
    },
  }
}
