-- What wrk sends: records of a file, in turn: a line "BYTES HEADER-BYTES", then the body. HEADER-BYTES 0: the whole body is JSON.
-- wrk ... -s load.lua URL -- FILE

local prepared, turn = {}, 0

function init(args)
  local file = io.open(args[1], "rb")
  for line in function() return file:read("*l") end do
    local size, head = line:match("^(%d+) (%d+)$")
    local headers = { ["Content-Type"] = "application/json" }
    if head ~= "0" then
      headers = { ["Content-Type"] = "application/octet-stream", ["Inference-Header-Content-Length"] = head }
    end
    prepared[#prepared + 1] = wrk.format("POST", nil, headers, file:read(tonumber(size)))
  end
  file:close()
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
