// What a program does with the original's client through a proxy; prints a JSON object: what each step gave.
//   node proxied.js PROXY UUID:KEY SERVER...     where the servers behind the edge are reached directly, too
'use strict'
const path = require('path')
const openwhisk = require(path.join(process.env.CLIENT_AT, 'node_modules', 'openwhisk'))
const [apihost, key, ...servers] = process.argv.slice(2)
const wsk = openwhisk({ apihost, api_key: key })
const behind = servers.map(each => openwhisk({ apihost: each, api_key: key }))
const found = {}

async function step (name, work) {
  try { found[name] = { ok: await work() } } catch (error) {
    found[name] = error instanceof Error
      ? { error: error.error, status: error.statusCode, message: error.message }
      : { rejected: error }
  }
}

async function until (work) {
  for (let left = 600; ; left--) {
    try { return await work() } catch (error) { if (!left) throw error }
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

const onAll = work => Promise.all(behind.map(work))
const gives = (status, work) => () => work().then(
  () => { throw new Error('it went well') },
  error => { if (error.statusCode !== status) throw error; return error.statusCode })

const copy = "function main (params) {\n  var input = params.input || ''\n  return { payload: input }\n}"
const newer = 'function main (params) { return { payload: "new " + params.input } }'
const plus = 'def main(p):\n    return {"n": p.get("n", 0) + p.get("by", 1)}'
const fail = 'def main(p):\n    return {"error": "no disk"}'
const crash = 'def main(p):\n    raise ValueError("crashed")'

async function main () {
  const { actions, activations } = wsk
  await step('made', () => onAll(async each => {
    await each.actions.create({ name: 'copy', action: copy })
    await each.packages.create({ name: 'kit', package: { parameters: [{ key: 'by', value: 10 }] } })
    await each.actions.create({ name: 'kit/plus', action: plus, kind: 'python:3' })
    await each.actions.create({ name: 'fail', action: fail, kind: 'python:3' })
    await each.actions.create({ name: 'crash', action: crash, kind: 'python:3' })
  }))
  const hello = { name: 'copy', blocking: true, params: { input: 'hello' } }
  await step('appeared', () => until(() => actions.invoke({ name: 'kit/plus', blocking: true, result: true })))
  await step('all there', () => until(gives(502, () => actions.invoke({ name: 'crash', blocking: true }))))
  await step('blocking', () => actions.invoke(hello))
  await step('result', () => actions.invoke({ ...hello, result: true }))
  await step('qualified', () => actions.invoke({ ...hello, name: '/guest/copy', result: true }))
  await step('packaged', () => actions.invoke({ name: '/guest/kit/plus', blocking: true, result: true, params: { n: 1 } }))
  await step('string', () => actions.invoke('copy'))
  await step('invokes', () => actions.invoke({ name: 'copy', params: { input: 'later' } }))
  await step('failing', () => actions.invoke({ name: 'fail', blocking: true }))
  await step('failing result', () => actions.invoke({ name: 'fail', blocking: true, result: true }))
  await step('crashing', () => actions.invoke({ name: 'crash', blocking: true }))
  await step('nowhere', () => actions.invoke({ name: 'nowhere', blocking: true }))
  await step('create', () => actions.create({ name: 'new', action: copy }))
  await step('list', () => actions.list())
  const { activationId } = found.invokes.ok
  await step('activation', () => until(() => activations.get(activationId)))
  await step('activation result', () => activations.result({ activationId }))
  await step('activation logs', () => activations.logs({ activationId }))
  await step('activations', () => activations.list({ limit: 3, name: 'copy' }))
  await step('namespaces', () => wsk.namespaces.list())
  const other = openwhisk({ apihost, api_key: key.slice(0, -1) + '?' })
  await step('wrong key', () => other.actions.invoke(hello))
  const ways = []
  while (ways.length < 40) ways.push(await actions.invoke(hello))
  found.ways = ways.map(each => Object.fromEntries(each.annotations.map(({ key, value }) => [key, value])))
  const burst = await Promise.allSettled(Array.from({ length: 150 }, () => actions.invoke(hello)))
  found.burst = burst.map(each => each.status === 'fulfilled' ? 200 : each.reason.statusCode)
  found['burst error'] = { error: (burst.find(each => each.status === 'rejected') || { reason: {} }).reason.error }
  await onAll(each => each.actions.update({ name: 'copy', action: newer }))
  await step('updated', () => actions.invoke({ ...hello, result: true }))
  await onAll(each => each.actions.delete('copy'))
  await step('deleted', () => until(gives(404, () => actions.invoke(hello))))
  console.log(JSON.stringify(found))
}

main()
