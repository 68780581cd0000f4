-- What wrk sends: the bodies of a file, one a line, in turn. What it says at the end: one line of JSON, in microseconds.
-- wrk ... -s load.lua URL -- FILE

local prepared, turn = {}, 0

function init(args)
  for body in io.lines(args[1]) do
    prepared[#prepared + 1] = wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, body)
  end
end

function request()
  turn = turn % #prepared + 1
  return prepared[turn]
end

function done(summary, latency, requests)
  local lost = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"refused":%d,"broken":%d,"late":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    lost.status, lost.connect + lost.read + lost.write, lost.timeout))
end
