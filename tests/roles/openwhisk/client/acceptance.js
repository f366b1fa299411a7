// What a program does with the original's client; prints a JSON object: what each step gave.
//   node acceptance.js http://HOST:PORT UUID:KEY
'use strict'
const path = require('path')
const openwhisk = require(path.join(process.env.CLIENT_AT, 'node_modules', 'openwhisk'))
const [apihost, key] = process.argv.slice(2)
const wsk = openwhisk({ apihost, api_key: key })
const found = {}

async function step (name, work) {
  try { found[name] = { ok: await work() } } catch (error) {
    found[name] = error instanceof Error
      ? { error: error.error, status: error.statusCode, message: error.message }
      : { rejected: error }
  }
}

async function until (work) {
  for (let left = 100; ; left--) {
    try { return await work() } catch (error) { if (!left) throw error }
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

const copy = 'function main (params) { console.log("seen", params.input); return { payload: params.input || "" } }'
const fail = 'function main () { return { error: "no disk" } }'
const plus = 'def main(p):\n    return {"n": p.get("n", 0) + p.get("by", 1)}'

async function main () {
  const { actions, activations, packages, namespaces } = wsk
  await step('create', () => actions.create({ name: 'copy', action: copy }))
  await step('again', () => actions.create({ name: 'copy', action: copy }))
  await step('update', () => actions.update({ name: 'copy', action: copy, params: { greeting: 'hi' }, annotations: { note: 1 } }))
  await step('noexec', () => actions.create({ name: 'none', action: { exec: undefined, parameters: [] } }))
  await step('fail', () => actions.create({ name: 'fail', action: fail, kind: 'nodejs:20' }))
  await step('plus', () => actions.create({ name: 'plus', action: plus, kind: 'python:3', limits: { timeout: 5000 } }))
  await step('buffer', () => actions.create({ name: 'buffer', action: Buffer.from(process.env.ZIP || '', 'base64'), kind: 'nodejs:default' }))
  await step('list', () => actions.list({ skip: 1, limit: 2 }))
  await step('count', () => actions.list({ count: true }))
  await step('get', () => actions.get('copy'))
  await step('code', () => actions.get({ name: 'copy', code: false }))
  await step('invokes', () => actions.invoke({ name: 'copy', params: { input: 'hello' } }))
  await step('blocking', () => actions.invoke({ name: 'copy', blocking: true, params: { input: 'hello' } }))
  await step('result', () => actions.invoke({ name: 'copy', blocking: true, result: true, params: { input: 'hello' } }))
  await step('string', () => actions.invoke('copy'))
  await step('qualified', () => actions.invoke({ name: '/guest/copy', blocking: true, result: true, params: { input: 1 } }))
  await step('failing', () => actions.invoke({ name: 'fail', blocking: true }))
  await step('failing result', () => actions.invoke({ name: 'fail', blocking: true, result: true }))
  await step('zipped', () => actions.invoke({ name: 'buffer', blocking: true, result: true, params: { input: 'z' } }))
  await step('sequence', () => actions.create({ name: 'twice', sequence: ['/_/plus', '/guest/plus'] }))
  await step('sequenced', () => actions.invoke({ name: 'twice', blocking: true, result: true, params: { n: 1, by: 2 } }))
  await step('package', () => packages.create({ name: 'kit', package: { parameters: [{ key: 'by', value: 10 }] } }))
  await step('packaged', () => actions.create({ name: 'kit/plus', action: plus, kind: 'python:3' }))
  await step('kit', () => packages.get('kit'))
  await step('by ten', () => actions.invoke({ name: 'kit/plus', blocking: true, result: true, params: { n: 5 } }))
  await step('nowhere', () => actions.create({ name: 'nokit/plus', action: plus, kind: 'python:3' }))
  await step('full', () => packages.delete({ name: 'kit' }))
  await step('activation', () => until(() => activations.get(found.invokes.ok.activationId)))
  await step('activation result', () => activations.result({ activationId: found.invokes.ok.activationId }))
  await step('activation logs', () => activations.logs({ activationId: found.invokes.ok.activationId }))
  await step('activations', () => activations.list({ limit: 3, name: 'copy' }))
  await step('docs', () => activations.list({ limit: 1, docs: true }))
  await step('namespaces', () => namespaces.list())
  await step('namespace', () => namespaces.get('guest'))
  await step('triggers', () => wsk.triggers.list())
  await step('delete', () => actions.delete('copy'))
  await step('gone', () => actions.get('copy'))
  const other = openwhisk({ apihost, api_key: key.slice(0, -1) + '?' })
  await step('wrong key', () => other.actions.list())
  const burst = await Promise.allSettled(Array.from({ length: 300 }, () => actions.invoke({ name: 'plus', blocking: true })))
  found.burst = burst.map(each => each.status === 'fulfilled' ? 200 : each.reason.statusCode)
  found['burst error'] = { error: (burst.find(each => each.status === 'rejected') || { reason: {} }).reason.error }
  console.log(JSON.stringify(found))
}

main()
