/** An address of its own for scrapers that have no token: `/metrics`, and nothing else. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { urlHost } from '../../config/address.ts'
import type { Metrics } from './metrics.ts'

/** Of Prometheus' text format. */
export const SCRAPE_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
/** A scrape asks for little and at once. */
const REQUEST_MS = 10_000

export interface MetricsServer {
  url: string
  close(): Promise<void>
}

/** Errors: those of listen (`EADDRINUSE`, `EACCES`). */
export async function serveMetrics(metrics: Metrics, listen: { host: string; port: number }): Promise<MetricsServer> {
  const server = createServer(
    { headersTimeout: REQUEST_MS, requestTimeout: REQUEST_MS, maxHeaderSize: 8192 },
    (request, response) => {
      const known = request.url?.split('?')[0] === '/metrics'
      const asked = request.method === 'GET' || request.method === 'HEAD'
      if (!known || !asked) {
        response.writeHead(known ? 405 : 404, { connection: 'close' }).end()
        return
      }
      metrics.scrape().then(
        (text) => response.writeHead(200, { 'content-type': SCRAPE_TYPE }).end(text),
        () => response.writeHead(500).end(),
      )
    },
  )
  // Scrapers are few.
  server.maxConnections = 20
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(listen, () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://${urlHost(listen.host)}:${port}/metrics`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
