// `npm run pipeline -- run FILE --pool NAME`: muster-pipeline under the pinned Node.
import '../packages/pipeline/dist/cli.js'
