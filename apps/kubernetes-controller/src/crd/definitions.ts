/** The CustomResourceDefinitions, made of the schemas of the host's configuration. Pure: {@link definitions}. */
import { poolSchema } from '@muster/host/config'
import { stringify } from 'yaml'
import { z } from 'zod'
import { GROUP, VERSION } from '../group.ts'
import { classStatusSchema, poolStatusSchema, workerSpecSchema, workerStatusSchema } from '../objects.ts'
import { type CelRule, type JsonSchema, type Structural, structuralOf } from './structural.ts'

interface PrinterColumn {
  name: string
  type: 'string' | 'integer' | 'date'
  jsonPath: string
  description?: string
  /** Above 0: only with `-o wide`. */
  priority?: number
}

export interface CustomResourceDefinition {
  apiVersion: 'apiextensions.k8s.io/v1'
  kind: 'CustomResourceDefinition'
  metadata: { name: string }
  spec: {
    group: string
    scope: 'Namespaced'
    names: {
      kind: string
      listKind: string
      plural: string
      singular: string
      shortNames: string[]
      categories: string[]
    }
    versions: object[]
  }
}

interface KindWords {
  kind: string
  plural: string
  shortName: string
  description: string
  spec: Structural
  status: Structural
  columns: PrinterColumn[]
  /** Of the whole object; only its name is seen of the metadata. */
  rules?: CelRule[]
  scale?: { specReplicasPath: string; statusReplicasPath: string }
}

const NAME = '[a-z0-9-]{1,40}'

/** By their plural names. */
export function definitions(): Record<'workerpools' | 'workerclasses' | 'workers', CustomResourceDefinition> {
  const pool = jsonSchema(poolSchema)
  const worker = pool.properties?.['worker'] ?? {}
  const named: CelRule = { rule: `self.metadata.name.matches('^${NAME}$')`, message: 'a name has 1 to 40 of a-z, 0-9 and -' }
  return {
    workerpools: definitionOf({
      kind: 'WorkerPool',
      plural: 'workerpools',
      shortName: 'wp',
      description: 'A named supply of alike workers: an entry of `pools` in muster.yaml. `kubectl scale` sets scale.warm.',
      spec: poolSpec(structuralOf(pool)),
      status: structuralOf(jsonSchema(poolStatusSchema)),
      columns: [
        { name: 'Ready', type: 'string', jsonPath: conditionPath('Ready', 'status') },
        { name: 'Warm', type: 'integer', jsonPath: '.spec.scale.warm' },
        { name: 'Max', type: 'integer', jsonPath: '.spec.scale.max' },
        { name: 'Idle', type: 'integer', jsonPath: '.status.idle' },
        { name: 'Leased', type: 'integer', jsonPath: '.status.leased' },
        { name: 'Queued', type: 'integer', jsonPath: '.status.queued' },
        { name: 'Reason', type: 'string', jsonPath: conditionPath('Ready', 'reason') },
        AGE,
        { name: 'Class', type: 'string', jsonPath: '.spec.class', priority: 1 },
        { name: 'Message', type: 'string', jsonPath: conditionPath('Ready', 'message'), priority: 1 },
      ],
      rules: [named],
      scale: { specReplicasPath: '.spec.scale.warm', statusReplicasPath: '.status.idle' },
    }),
    workerclasses: definitionOf({
      kind: 'WorkerClass',
      plural: 'workerclasses',
      shortName: 'wc',
      description: 'What workers are like: the `worker` of pools that name it as their class.',
      spec: structuralOf(worker),
      status: structuralOf(jsonSchema(classStatusSchema)),
      columns: [
        { name: 'Work', type: 'string', jsonPath: '.spec.work' },
        { name: 'Image', type: 'string', jsonPath: '.spec.image' },
        { name: 'Pools', type: 'integer', jsonPath: '.status.pools' },
        AGE,
      ],
    }),
    workers: definitionOf({
      kind: 'Worker',
      plural: 'workers',
      shortName: 'wk',
      description: 'A worker of a host, as it is there: made and removed by the host. Deleted, it is asked to end.',
      spec: {
        ...structuralOf(jsonSchema(workerSpecSchema)),
        'x-kubernetes-validations': [
          { rule: 'self == oldSelf', message: 'a worker belongs to one pool and one provider for ever' },
        ],
      },
      status: structuralOf(jsonSchema(workerStatusSchema)),
      columns: [
        { name: 'Pool', type: 'string', jsonPath: '.spec.pool' },
        { name: 'Phase', type: 'string', jsonPath: '.status.phase' },
        { name: 'Provider', type: 'string', jsonPath: '.spec.provider' },
        { name: 'Node', type: 'string', jsonPath: '.status.node' },
        AGE,
        { name: 'Lease', type: 'string', jsonPath: '.status.lease', priority: 1 },
      ],
      rules: [{ rule: "self.metadata.name.matches('^w[0-9a-z]{26}$')", message: 'a worker is named by its id' }],
    }),
  }
}

const AGE: PrinterColumn = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' }

function conditionPath(type: string, key: string): string {
  return `.status.conditions[?(@.type=="${type}")].${key}`
}

function jsonSchema(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema
}

/** Kubernetes' own: a number of replicas is an int32. */
const MOST_REPLICAS = 2 ** 31 - 1

function poolSpec(whole: Structural): Structural {
  const { scale = {}, ...properties } = whole.properties ?? {}
  const { warm = {}, ...sizes } = scale.properties ?? {}
  return {
    ...whole,
    properties: {
      class: {
        type: 'string',
        minLength: 1,
        maxLength: 253,
        description: 'The WorkerClass of this namespace that says what its workers are like, instead of `worker`.',
      },
      ...properties,
      scale: {
        ...scale,
        // `kubectl scale` needs a value to change.
        default: {},
        properties: { ...sizes, warm: { ...warm, default: 0, maximum: MOST_REPLICAS } },
        'x-kubernetes-validations': ['min', 'warm'].map((key) => ({
          // The host's own default of max is 10.
          rule: `!has(self.${key}) || self.${key} <= (has(self.max) ? self.max : 10)`,
          message: `${key} is no more than max`,
        })),
      },
    },
    'x-kubernetes-validations': [{ rule: '!(has(self.class) && has(self.worker))', message: 'give either a class or a worker' }],
  }
}

function definitionOf({
  kind,
  plural,
  shortName,
  description,
  spec,
  status,
  columns,
  rules,
  scale,
}: KindWords): CustomResourceDefinition {
  const singular = kind.toLowerCase()
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${GROUP}` },
    spec: {
      group: GROUP,
      scope: 'Namespaced',
      names: { kind, listKind: `${kind}List`, plural, singular, shortNames: [shortName], categories: ['muster'] },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          schema: {
            openAPIV3Schema: {
              description,
              type: 'object',
              properties: {
                apiVersion: { type: 'string' },
                kind: { type: 'string' },
                metadata: { type: 'object' },
                spec,
                status,
              },
              required: ['spec'],
              ...(rules === undefined ? {} : { 'x-kubernetes-validations': rules }),
            },
          },
          subresources: { status: {}, ...(scale === undefined ? {} : { scale }) },
          additionalPrinterColumns: columns,
        },
      ],
    },
  }
}

/** As a file for `kubectl apply -f`. */
export function definitionText(definition: CustomResourceDefinition): string {
  return stringify(definition, { aliasDuplicateObjects: false, lineWidth: 0, singleQuote: true })
}
