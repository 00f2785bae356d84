-- Sends MR series, and the notes that take images back, to vbq-node once their study is stable: each in a job of its own.
-- A series is marked (metadata VbqSent) when all of its images have arrived there, and is sent again when it has changed.

local NODE = 'vbq'      -- its name in "DicomModalities"
local MARK = 'VbqSent'  -- in "UserMetadata"
local ONLY = {}         -- words of which the descriptions must have one, such as {'lumb', 'lws'}; empty: every MR study

local MODALITIES = { MR = true, KO = true }
local sending = {}      -- by job: its series, and the state of it that is sent
local waiting = {}      -- studies that could not be sent

-- An error in a callback would end it with a line in the log and no more routing; origin and tags may be nil.
local function guarded(name, work)
   return function (...)
      local done, fault = pcall(work, ...)
      if not done then print('vbq-node: ' .. name .. ' failed: ' .. tostring(fault)) end
   end
end

local function get(uri)
   local answer = RestApiGet(uri)
   return answer and ParseJson(answer) or nil
end

local function wanted(series, description)
   local tags = series.MainDicomTags or {}
   if not MODALITIES[tags.Modality] then return false end
   if #ONLY == 0 or tags.Modality == 'KO' then return true end
   local text = table.concat({ description, tags.BodyPartExamined or '', tags.SeriesDescription or '',
                               tags.ProtocolName or '' }, ' '):lower()
   for _, word in ipairs(ONLY) do
      if text:find(word, 1, true) then return true end
   end
   return false
end

-- The state of a series: its last change, or how many images it has where Orthanc does not say.
local function state(series)
   return series.LastUpdate or tostring(#(series.Instances or {}))
end

local function is_sent(series)
   for _, name in ipairs(get('/series/' .. series.ID .. '/metadata') or {}) do
      if name == MARK then return RestApiGet('/series/' .. series.ID .. '/metadata/' .. MARK) == state(series) end
   end
   return false
end

-- Not "Permissive": such a job of Orthanc ends as a success without a failed instance even when nothing could be sent.
local function order(series)
   local job = ParseJson(RestApiPost('/modalities/' .. NODE .. '/store', DumpJson(
      { Resources = { series.ID }, Permissive = false, Synchronous = false }, true)) or '{}')
   if job.ID == nil then
      print('vbq-node: there is no job for series ' .. series.ID .. '; is "' .. NODE .. '" one of the DicomModalities?')
      return false
   end
   sending[job.ID] = { series = series.ID, study = series.ParentStudy, state = state(series) }
   return true
end

-- Whether there is now a job for each series of a study that is to be sent.
local function send(study)
   local all = get('/studies/' .. study .. '/series')
   if all == nil then return true end  -- it was deleted
   local described = get('/studies/' .. study) or {}
   local description = (described.MainDicomTags or {}).StudyDescription or ''
   local ordered = true
   for _, series in ipairs(all) do
      if wanted(series, description) and not is_sent(series) then ordered = order(series) and ordered end
   end
   return ordered
end

local function send_waiting()
   local studies = {}
   for study in pairs(waiting) do table.insert(studies, study) end
   for _, study in ipairs(studies) do
      local done, ordered = pcall(send, study)
      if not done then print('vbq-node: study ' .. study .. ' failed: ' .. tostring(ordered)) end
      if done and ordered then waiting[study] = nil end
   end
end

OnStableStudy = guarded('OnStableStudy', function (study)
   waiting[study] = true
   send_waiting()
end)
OnJobSuccess = guarded('OnJobSuccess', function (id)
   local sent = sending[id]
   sending[id] = nil
   if sent ~= nil then RestApiPut('/series/' .. sent.series .. '/metadata/' .. MARK, sent.state) end
end)
OnJobFailure = guarded('OnJobFailure', function (id)
   local sent = sending[id]
   sending[id] = nil
   if sent ~= nil then
      waiting[sent.study] = true
      print('vbq-node: series ' .. sent.series .. ' could not be sent; it is sent again with the next study')
   end
end)
OnHeartBeat = guarded('OnHeartBeat', send_waiting)  -- called by Orthanc 1.11 and newer ("LuaHeartBeatPeriod")
